"""Short histories through `haltline replay`: 40 samples before the change, shadows pooled over the services.

Placebo: a window of 40 rows before and 60 after, of all services of a set at once; five of them, drawn with the seed,
are changed at the same moment. JumpStarter (19 metrics) and the issue-free run of PetShop. Harm: one service of the
window is changed and harmed from the fifth row after it, in all its metrics. Full history: the same moments as copies
with up to seven days before them. A window is taken only where none of the changed services has a label in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench import DataMissingError
from bench.cases import SEED, Case, Moment, Truth, between, change, policy
from bench.data import Service, jumpstarter, petshop, telemetry
from bench.figures import Rate, Recall, frozen_moments, rate, recall
from bench.harm import ONSET_AFTER, copies, harmed
from bench.judged import share
from bench.run_replay import Replayed, command, run
from bench.tables import table

BEFORE, WATCH, CHANGED = 40, 60, 5
HARMS = ("+100%", "zero")


@dataclass(frozen=True, eq=False)
class Window:
    """All services at once around row `index`, and those that are changed after it."""

    services: Sequence[Service]
    index: int
    changed: tuple[str, ...]

    @property
    def moment(self) -> Moment:
        """The first of the changed ones."""
        return Moment(next(one for one in self.services if one.name == self.changed[0]), self.index)


def windows(services: Sequence[Service], most: int, *, first: int) -> list[Window]:
    """At most `most` windows, evenly spread from row `first` on, none overlapping."""
    length = min(len(service) for service in services)
    step = max((length - first - WATCH - 1) // most, BEFORE + WATCH)
    rng = np.random.default_rng(SEED)
    found = []
    for index in range(first, length - WATCH - 1, step):
        calm = [one.name for one in services if not one.labels[index - BEFORE : index + WATCH + 1].any()]
        if len(calm) >= CHANGED:
            chosen = rng.choice(np.array(calm), CHANGED, replace=False)
            found.append(Window(services, index, tuple(str(name) for name in chosen)))
    return found[:most]


def case(name: str, window: Window, harm: str = "none") -> Case:
    """The window as it came with all five changed, or with one changed and harmed."""
    changed = window.changed if harm == "none" else window.changed[:1]
    parts, changes, truth = [], [], {}
    for service in window.services:
        part = service.part(window.index + 1 - BEFORE, window.index + WATCH + 2)
        start = BEFORE - 1 + ONSET_AFTER
        if service.name in changed:
            ident = f"{name}/{service.name}@{window.index}"
            record = change(ident, service.name, between(part, BEFORE - 1))
            onset = None if harm == "none" else int(part.times[start])
            moment = f"{service.name}@{window.index}"
            changes.append(record)
            truth[ident] = Truth(service.name, service.period_ms, record["time"], onset, moment)
            part = harmed(part, start, harm)
        parts.append(part)
    rules = policy(watch_s=WATCH * window.services[0].period_ms // 1000, samples=WATCH)
    return Case(f"{name}-{window.index}-{harm}", changes, list(telemetry(parts)), rules, truth)


def placebos(name: str, most: int) -> list[Replayed]:
    """The windows of one set, `jumpstarter` or `petshop`, with nothing wrong in them."""
    services = jumpstarter.load() if name == "jumpstarter" else petshop.issue_free()
    return [run(case(name, window)) for window in windows(services, most, first=BEFORE)]


def harmful(harm: str, most: int) -> tuple[Recall, Recall]:
    """Recall with 40 samples and with full history, of the moments that do not freeze untouched."""
    some = windows(jumpstarter.load(), most, first=1_440)
    moments = [window.moment for window in some]
    calm = frozen_moments([run(case("young", window)) for window in some])
    calm |= frozen_moments([run(copies("old-none", moments, WATCH, history=2_016))])
    young = recall([run(case("young", window, harm)) for window in some], early_counts=False, without=calm)
    full = copies(f"old-{harm}", moments, WATCH, harm=harm, history=2_016)
    return young, recall([run(full)], early_counts=False, without=calm)


def cell(found: Rate) -> str:
    """Frozen of how many, per 1,000."""
    return f"{found.text()} of {found.changes}"


def main(argv: Sequence[str]) -> int:
    """Print the placebo rates, and recall beside that with full history."""
    parser = argparse.ArgumentParser(prog="python -m bench young", description=__doc__)
    parser.add_argument("--windows", type=int, default=60, help="of each set at most (default: %(default)s)")
    most = parser.parse_args(list(argv)).windows
    command()
    rows = []
    for name in ("jumpstarter", "petshop"):
        try:
            rows.append([name, cell(rate(placebos(name, most)))])
        except DataMissingError as error:
            print(f"{name}: skipped: {error}")
    print(table("40 samples before: freezes per 1,000 harmless changes", ["set", ""], rows))
    rows = []
    for harm in HARMS:
        young, full = harmful(harm, most // 2)
        rows.append([harm, share(young.caught, young.harmful), share(full.caught, full.harmful)])
    print("\n" + table("all 19 metrics of one service: caught", ["harm", "40 samples", "up to 7 days"], rows))
    return 0
