"""The dataset of the benchmark, as Headrace and its peers declare it. Imports nothing."""

DATASET = "benchmark"
TABLE = "users"
FILE = f"{TABLE}.csv"
COLUMNS = {
    "user_id": "text",
    "signup_date": "date",
    "monthly_fee": "double precision",
    "total_paid": "double precision",
    "months_active": "bigint",
    "is_senior": "boolean",
}
"""Names and Postgres types, the key first."""
KEY = "user_id"
SPEC = f"""\
dataset: {DATASET}
slices:
  naming: {{pattern: "{{date:%Y-%m-%d}}"}}
tables:
  {TABLE}:
    key: [{KEY}]
    columns:
      user_id: string
      signup_date: {{type: date, nullable: false}}
      monthly_fee: number
      total_paid: number
      months_active: integer
      is_senior: {{type: boolean, nullable: false}}
"""
