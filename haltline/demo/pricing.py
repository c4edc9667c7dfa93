"""What a basket costs: the rule of each version of the pricing service, one of them wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence

PRICES_CENTS = {"kettle": 3_490, "lamp": 5_900, "mug": 890, "rug": 12_900, "chair": 7_450}
"""The shelf: what one piece costs, in cents."""

Basket = Sequence[tuple[str, int]]
"""Articles and how many of each."""

Rule = Callable[[Basket, int], int]
"""A basket and a discount in percent give a total in cents."""


class ImpossiblePrice(ValueError):
    """A total that no shop may charge."""


def discounted_total(basket: Basket, discount: int) -> int:
    """The discount once, on the sum.

    >>> discounted_total([("mug", 2)], 60)
    712
    """
    return _sum(basket) * (100 - discount) // 100


def doubly_discounted_total(basket: Basket, discount: int) -> int:
    """The discount on each article, and by oversight once more on the sum: from 50 % on the shop pays its customer.

    >>> doubly_discounted_total([("mug", 2)], 60)
    -356
    """
    articles = sum(PRICES_CENTS[article] * pieces * (100 - discount) // 100 for article, pieces in basket)
    return articles - _sum(basket) * discount // 100


RULES: dict[str, Rule] = {"v1": discounted_total, "v2": doubly_discounted_total, "v3": discounted_total}


def price(version: str, basket: Basket, discount: int) -> int:
    """The total in cents by the rule of this version.

    Raises:
        ImpossiblePrice: the total is below zero.
    """
    total = RULES[version](basket, discount)
    if total < 0:
        raise ImpossiblePrice(f"total is {total} cents for a basket of {_sum(basket)}")
    return total


def _sum(basket: Basket) -> int:
    return sum(PRICES_CENTS[article] * pieces for article, pieces in basket)
