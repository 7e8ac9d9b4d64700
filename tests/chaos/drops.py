"""Tiny datasets, one like another, and their slices."""

import random
from pathlib import Path

SPEC = """
dataset: {name}
slices:
  naming: {{pattern: "{{date:%Y-%m-%d}}", first_as_of: 2024-01-01, every: day}}
tables:
  guests:
    key: [guest]
    columns:
      guest: string
      age: integer
      regular: boolean
    expectations:
      - {{type: expect_column_values_to_be_between, kwargs: {{column: age, min_value: 0}}}}
  stays:
    key: [guest, night]
    foreign_keys: [{{columns: [guest], table: guests}}]
    columns:
      guest: string
      night: integer
      price: number
"""
TRAINING = """
training:
  entity: guest
  target: {{table: guests, column: regular}}
  features: {{guests: [age]}}
  split: {{test_share: 0.4, salt: s}}
  model: {{name: {name}_regulars, kind: logistic_regression}}
  metric: accuracy
"""
GUESTS = 40


def write_spec(folder: Path, name: str, *, with_training: bool = True) -> None:
    """The spec of a dataset of this kind."""
    said = SPEC + (TRAINING if with_training else "")
    (folder / f"{name}.yaml").write_text(said.format(name=name))


def write_drop(folder: Path, slice_key: str, *, seed: int = 0, guests: int = GUESTS) -> Path:
    """A slice; another seed gives other content. The folder that holds it."""
    numbers = random.Random(f"{slice_key}/{seed}")  # noqa: S311
    target = folder / slice_key
    target.mkdir(parents=True, exist_ok=True)
    ages = {f"g{number:03d}": numbers.randint(1, 90) for number in range(guests)}
    rows = [f"{guest},{age},{str(age > 45).lower()}" for guest, age in ages.items()]
    (target / "guests.csv").write_text("\n".join(["guest,age,regular", *rows]) + "\n")
    nights = [
        f"{guest},{numbers.randint(1, 3)},{numbers.uniform(20, 200):.2f}"
        for guest in numbers.sample(sorted(ages), guests // 2)
    ]
    (target / "stays.csv").write_text("\n".join(["guest,night,price", *nights]) + "\n")
    return folder
