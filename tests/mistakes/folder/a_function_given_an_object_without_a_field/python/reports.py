from dataclasses import dataclass


@dataclass
class Order:
    name: str
    price: float


def week(order: Order) -> float:
    return order.price
