"""Writing a person's order to `haltline.orders`."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from deploy.order import Order
from haltline import broker
from haltline.settings import Settings
from stream import topics


def new_id() -> str:
    return f"order-{uuid.uuid4().hex[:16]}"


def issue(settings: Settings, orders: Iterable[Order]) -> None:
    """Write the orders, in this order; when it returns they are durable and every reader obeys them."""
    from stream.wire.outgoing import encode_order

    with broker.producer(settings) as client:
        broker.send(client, topics.ORDERS.name, map(encode_order, orders))
