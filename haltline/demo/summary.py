"""The incident in figures, each one taken from a clock or counted."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.text import Text

from haltline.demo.observer import Second
from haltline.demo.story import Told

PROMISE = "that sample → `haltline check` refused"
PROMISED_S = 5.0


class Damage(msgspec.Struct, frozen=True):
    """Checkouts, failures and customers of a stretch of time; a customer is hit when any of its checkouts failed."""

    checkouts: int
    failed: int
    customers: int
    hit: int

    @property
    def failed_share(self) -> float:
        return self.failed / self.checkouts if self.checkouts else 0.0

    @property
    def hit_share(self) -> float:
        return self.hit / self.customers if self.customers else 0.0


def damage(seconds: Sequence[Second], since: int, until: int) -> Damage:
    """What the seconds that lie in the stretch (Unix milliseconds), wholly or in part, add up to."""
    chosen = [second for second in seconds if since < second.at and second.at - 1_000 < until]
    served = [customer for second in chosen for customer in second.served]
    failed = [customer for second in chosen for customer in second.failed]
    return Damage(len(served) + len(failed), len(failed), len({*served, *failed}), len(set(failed)))


def intervals(told: Told) -> list[tuple[str, float]]:
    """What lay between the moments, in seconds."""
    decided = told.verdict.what.time
    spans = [
        ("harm began → the sample that decided it", told.harm, decided),
        ("that sample → the verdict seen on haltline.verdicts", decided, told.verdict.at),
        ("that sample → the freeze seen on haltline.freezes", decided, told.freeze.at),
        (PROMISE, decided, told.refused.at),
        ("harm began → `haltline check` refused", told.harm, told.refused.at),
        ("harm began → the last broken instance gone", told.harm, told.healthy),
    ]
    return [(text, (end - start) / 1_000) for text, start, end in spans]


def summary(told: Told, seconds: Sequence[Second]) -> list[Text]:
    """The figures as lines."""
    rows = [Text("\nWhat it took", "bold")]
    for text, took in intervals(told):
        row = Text(f"{text:<55}{took:6.2f} s")
        if text == PROMISE:
            kept = took <= PROMISED_S
            said = f"   promised: within {PROMISED_S:.0f} s, {'kept' if kept else 'NOT KEPT'}"
            row.append(said, "green" if kept else "bold red")
        rows.append(row)
    all_in_all = damage(seconds, told.opened, told.unfrozen + 60_000)
    before = damage(seconds, told.opened, told.harm - 1_000)
    during = damage(seconds, told.harm, told.healthy)
    rows += [
        Text("\nWhat it cost", "bold"),
        Text(f"{all_in_all.checkouts:,} checkouts in all, {all_in_all.failed:,} of them failed"),
        Text(
            f"before the harm {before.failed_share:.1%} failed; while it lasted {during.failed_share:.1%}, "
            f"{during.failed:,} of {during.checkouts:,}"
        ),
        Text(f"customers hit while it lasted: {during.hit:,} of {during.customers:,}, {during.hit_share:.1%}"),
    ]
    return rows
