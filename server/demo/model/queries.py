"""Questions about the sample shop into SELECT statements, for a few shapes of question."""

# ruff: noqa: S608 - a model writes SQL for a living; the tool that runs it only reads

from __future__ import annotations

import re

REVENUE = "round(sum(orders.quantity * orders.unit_price), 2)"
JOINED = "orders JOIN customers ON customers.id = orders.customer_id"

GROUPS = {
    "country": "customers.country",
    "city": "customers.city",
    "customer": "customers.name",
    "client": "customers.name",
    "item": "orders.item",
    "product": "orders.item",
    "article": "orders.item",
    "status": "orders.status",
    "month": "substr(orders.placed_on, 1, 7)",
    "year": "substr(orders.placed_on, 1, 4)",
}
IRREGULAR = {"countries": "country", "cities": "city", "statuses": "status"}
NO_PLACES = {
    "the",
    "our",
    "your",
    "total",
    "all",
    "each",
    "every",
    "this",
    "that",
    "a",
    "it",
    "there",
    "database",
    "shop",
}

CUSTOMERS = re.compile(r"\b(?:customers?|clients?)\b", re.IGNORECASE)
ORDERS = re.compile(r"\borders?\b", re.IGNORECASE)
MONEY = re.compile(r"\b(?:revenue|sales|turnover|income|earn(?:ed|ings)?)\b", re.IGNORECASE)
COUNTING = re.compile(r"\b(?:how many|count|number of|total)\b", re.IGNORECASE)
GROUPING = re.compile(r"\b(?:per|by|for each|in each|for every|in every|each|every)\s+([a-z]+)", re.IGNORECASE)
PLACE = re.compile(r"\b(?:in|from)\s+([^\W\d_][\w'-]*(?:\s+[A-Z][\w'-]*)*)", re.IGNORECASE)
CAPITALISED = re.compile(r"\b(?:in|from)\s+([A-Z][\w'-]*(?:\s+[A-Z][\w'-]*)*)")
TOP = re.compile(r"\b(?:top|best|biggest|largest)\s*(\d{1,3})?\b", re.IGNORECASE)
FIRST = re.compile(r"\bfirst\s+(\d{1,3})\b", re.IGNORECASE)
LATEST = re.compile(r"\b(?:latest|last|newest|recent)\s*(\d{1,3})?\b", re.IGNORECASE)


def to_sql(text: str) -> str | None:
    """Translate `how many customers per country` into a SELECT for SQLite; None when it is not about the shop."""
    about_customers, about_orders, about_money = (bool(p.search(text)) for p in (CUSTOMERS, ORDERS, MONEY))
    group = _find_group(text)
    top = TOP.search(text)
    if about_money or (about_customers and top):
        return _query_revenue(text, "customers.name" if about_customers and group is None else group, top)
    if about_orders and not (about_customers and group is None):
        return _query_orders(text, group)
    if about_customers:
        return _query_customers(text, group)
    return None


def count_in(place: str) -> str:
    """Build the SELECT that counts the customers in one country or city."""
    return f"SELECT count(*) AS customers FROM customers{_build_where(place)}"


def _query_revenue(text: str, group: str | None, top: re.Match[str] | None) -> str:
    where = _build_where(_find_place(text))
    if group is None:
        return f"SELECT {REVENUE} AS revenue FROM {JOINED}{where}"
    name = _name_column(group)
    limit = f" LIMIT {top.group(1) or 5}" if top else ""
    order = f"{name}" if name in {"month", "year"} else f"revenue DESC, {name}"
    return (
        f"SELECT {group} AS {name}, {REVENUE} AS revenue FROM {JOINED}{where} GROUP BY {group} ORDER BY {order}{limit}"
    )


def _query_orders(text: str, group: str | None) -> str:
    where = _build_where(_find_place(text))
    if group is not None:
        name = _name_column(group)
        order = name if name in {"month", "year"} else f"orders DESC, {name}"
        return f"SELECT {group} AS {name}, count(*) AS orders FROM {JOINED}{where} GROUP BY {group} ORDER BY {order}"
    if COUNTING.search(text):
        return f"SELECT count(*) AS orders FROM {JOINED}{where}"
    latest = LATEST.search(text)
    limit = (latest.group(1) if latest else None) or 5
    return (
        "SELECT orders.placed_on, customers.name AS customer, orders.item, orders.quantity, orders.status "
        f"FROM {JOINED}{where} ORDER BY orders.placed_on DESC, orders.id DESC LIMIT {limit}"
    )


def _query_customers(text: str, group: str | None) -> str:
    place = _find_place(text)
    if group is not None and group.startswith("customers."):
        name = _name_column(group)
        return (
            f"SELECT {group} AS {name}, count(*) AS customers FROM customers{_build_where(place)} "
            f"GROUP BY {group} ORDER BY customers DESC, {name}"
        )
    if COUNTING.search(text):
        return f"SELECT count(*) AS customers FROM customers{_build_where(place)}"
    first = FIRST.search(text)
    limit = first.group(1) if first else 50
    return f"SELECT name, city, country FROM customers{_build_where(place)} ORDER BY name LIMIT {limit}"


def _find_group(text: str) -> str | None:
    for found in GROUPING.finditer(text):
        word = found.group(1).lower()
        word = IRREGULAR.get(word, word)
        if (column := GROUPS.get(word) or GROUPS.get(word.removesuffix("s"))) is not None:
            return column
    return None


def _name_column(group: str) -> str:
    names = {"customers.name": "customer", GROUPS["month"]: "month", GROUPS["year"]: "year"}
    return names.get(group) or group.split(".")[1]


def _find_place(text: str) -> str | None:
    # "in New York" by its capitals, "in portugal" as one word.
    for found in (CAPITALISED.search(text), PLACE.search(text)):
        if found is not None:
            place = found.group(1) if found.re is CAPITALISED else found.group(1).split()[0]
            if place.lower() not in NO_PLACES:
                return place
    return None


def _build_where(place: str | None) -> str:
    if place is None:
        return ""
    quoted = "'" + place.lower().replace("'", "''") + "'"
    return f" WHERE lower(customers.country) = {quoted} OR lower(customers.city) = {quoted}"
