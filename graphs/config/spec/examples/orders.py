"""What the example of `python` nodes counts: in a config folder, this file is `python/orders.py`."""

from dataclasses import dataclass


@dataclass
class Totals:
    """What all orders come to."""

    count: int
    sum: float
    largest: str | None = None


def add_up(rows: list[dict[str, object]], least: float = 0) -> Totals:
    """Add up the orders of at least this value."""
    values = {str(row["customer"]): float(str(row["value"])) for row in rows}
    counted = {customer: value for customer, value in values.items() if value >= least}
    if not counted:
        raise ValueError(f"none of {len(rows)} orders is worth {least:g} or more")
    return Totals(len(counted), sum(counted.values()), max(counted, key=lambda customer: counted[customer]))
