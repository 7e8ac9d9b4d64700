"""Invented monthly drops of Streamflow."""

import csv
import math
import random
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

FIRST_SIGNUP = date(2021, 1, 1)
FIRST_AS_OF = date(2024, 1, 31)
NEWCOMERS_A_MONTH = 0.04
CONTRACTS = {"Month-to-month": (0.55, 0.9), "One year": (0.21, -0.6), "Two year": (0.24, -1.8)}
"""Share of the users and effect on the log odds of churn."""
FAULTY = slice(20, 26)
"""Rows of the usage whose hours are no numbers, where faults are asked for."""
NETWORKS = {"DSL": (0.34, -0.2), "Fiber optic": (0.44, 0.7), "No": (0.22, -0.9)}


@dataclass
class _User:
    """What stays of a user from month to month. `risk` is the part of the log odds that stays."""

    user_id: str
    signup_date: date
    gender: str
    is_senior: bool
    has_family: bool
    has_dependents: bool
    contract: str
    network: str
    streams: tuple[bool, bool] | None
    paperless: bool
    fee: float
    risk: float


def write_streamflow(
    folder: Path, *, months: int, users: int, seed: int, faults: bool = False
) -> list[Path]:
    """Write `months` drops below `folder` and return their folders, first month first.

    Users and subscriptions stay, a few users come each month, usage changes in every row, the rest
    in some. A fifth of the users have no streaming plan recorded (empty, which is NULL). With
    `faults` six cells of the last month's usage are no numbers, for which it is rejected.
    """
    rng = random.Random(seed)  # noqa: S311 - sample data, no secret
    known = [_user(rng, FIRST_AS_OF) for _ in range(users)]
    written = []
    for month in range(months):
        as_of = _month_end(FIRST_AS_OF, month)
        if month:
            known += [_user(rng, as_of) for _ in range(round(users * NEWCOMERS_A_MONTH))]
        target = folder / f"month_{month:03d}"
        target.mkdir(parents=True, exist_ok=True)
        drop = _drop(rng, known, as_of)
        if faults and month == months - 1:
            for number, row in enumerate(drop["usage_agg_30d"][FAULTY]):
                row["watch_hours_30d"] = ("n/a", "12,5")[number % 2]
        for table, rows in drop.items():
            with (target / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
        written.append(target)
    return written


def _user(rng: random.Random, before: date) -> _User:
    contract, contract_risk = _choice(rng, CONTRACTS)
    network, network_risk = _choice(rng, NETWORKS)
    is_senior, has_family = rng.random() < 0.16, rng.random() < 0.48
    days = (before - FIRST_SIGNUP).days
    signup = before - timedelta(days=int(days * rng.random() ** 1.3))
    letters = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=5))
    base = {"DSL": 45.0, "Fiber optic": 75.0, "No": 20.0}[network]
    return _User(
        user_id=f"{rng.randrange(10_000):04d}-{letters}",
        signup_date=signup,
        gender=rng.choice(["Female", "Male"]),
        is_senior=is_senior,
        has_family=has_family,
        has_dependents=has_family and rng.random() < 0.6,
        contract=contract,
        network=network,
        streams=((rng.random() < 0.5, rng.random() < 0.5) if rng.random() < 0.8 else None),
        paperless=rng.random() < 0.6,
        fee=round(base + rng.uniform(0, 30), 2),
        risk=contract_risk + network_risk + 0.4 * is_senior - 0.3 * has_family,
    )


def _drop(
    rng: random.Random, users: list[_User], as_of: date
) -> dict[str, list[dict[str, object]]]:
    """One month's rows by table."""
    tables: dict[str, list[dict[str, object]]] = {
        name: []
        for name in (
            "users",
            "subscriptions",
            "usage_agg_30d",
            "payments_agg_90d",
            "support_agg_90d",
            "labels",
        )
    }
    for user in users:
        hours = max(0.0, rng.gauss(30, 8))
        failed = min(9, int(rng.expovariate(1.6)))
        tickets = min(9, int(rng.expovariate(1.2)))
        months_active = max(1, round((as_of - user.signup_date).days / 30.4))
        odds = user.risk - 0.045 * months_active - 0.05 * (hours - 30) + 0.5 * failed
        odds += 0.35 * tickets - 0.6
        has_churned = rng.random() < 1 / (1 + math.exp(-1.6 * odds))
        key = {"user_id": user.user_id}
        tv, movies = user.streams if user.streams else ("", "")
        tables["users"].append(
            key
            | {
                "signup_date": user.signup_date.isoformat(),
                "user_gender": user.gender,
                "user_is_senior": user.is_senior,
                "has_family": user.has_family,
                "has_dependents": user.has_dependents,
            }
        )
        tables["subscriptions"].append(
            key
            | {
                "months_active": months_active,
                "plan_stream_tv": tv,
                "plan_stream_movies": movies,
                "contract_type": user.contract,
                "paperless_billing": user.paperless,
                "monthly_fee": user.fee,
                "total_paid": round(user.fee * months_active, 2),
                "net_service": user.network,
            }
        )
        tables["usage_agg_30d"].append(
            key
            | {
                "watch_hours_30d": round(hours, 4),
                "avg_session_mins_7d": round(max(1.0, rng.gauss(29, 6)), 4),
                "unique_devices_30d": rng.randint(1, 5),
                "skips_7d": rng.randint(0, 8),
                "rebuffer_events_7d": rng.randint(0, 5),
            }
        )
        tables["payments_agg_90d"].append(key | {"failed_payments_90d": failed})
        tables["support_agg_90d"].append(
            key
            | {
                "support_tickets_90d": tickets,
                "ticket_avg_resolution_hrs_90d": round(max(0.5, rng.gauss(14, 5)), 1),
            }
        )
        tables["labels"].append(key | {"churn_label": has_churned})
    return tables


def _choice(rng: random.Random, options: dict[str, tuple[float, float]]) -> tuple[str, float]:
    name = rng.choices(list(options), weights=[share for share, _ in options.values()])[0]
    return name, options[name][1]


def _month_end(first: date, months: int) -> date:
    year, month = divmod(first.year * 12 + first.month - 1 + months + 1, 12)
    return date(year, month + 1, 1) - timedelta(days=1)
