"""A person's own yes or no to a change, given by `haltline approve`, as a piece of the change's story."""

from __future__ import annotations

from deploy.order import Order, Verb
from deploy.provenance.piece import Approval, Piece
from deploy.provenance.vote import Source, quote


def ordered_piece(order: Order) -> Piece | None:
    """What an order says of the approvals of a change; None where it is about something else."""
    if order.verb not in (Verb.APPROVE, Verb.REFUSE, Verb.WITHDRAW):
        return None
    withdrawn, refused = order.verb is Verb.WITHDRAW, order.verb is Verb.REFUSE
    what = "refused" if refused else f"confirmed {order.confirms} of" if order.confirms else "approved"
    said = f"{order.by} took back what they said" if withdrawn else f"{order.by} {what} {order.revision[:10]}"
    why = f": {order.reason}" if order.reason else ""
    return Piece(
        source=Source.ORDER,
        text=quote(f"{said}{why}{', signed' if order.signature else ''}"),
        time=order.time,
        change=order.change,
        approvals=(
            Approval(
                who=order.by,
                at=order.time,
                revision=order.revision.lower(),
                withdrawn=withdrawn,
                source=Source.ORDER.value,
                since=order.since,
                confirms=order.confirms,
                signature=order.signature,
                refused=refused,
                why=order.reason,
            ),
        ),
    )
