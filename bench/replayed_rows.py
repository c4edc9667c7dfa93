"""Rows of the table of goals that come from `haltline replay` on public data, thinned by fixed cuts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bench import silence, vectors, young
from bench.data import jumpstarter, microsoft, petshop
from bench.figures import Recall, frozen_moments, rate, recall, unfelt_moments
from bench.goals import Line, placebo_line, recall_line, share_line, silent_freezes, within
from bench.harm import copies, labelled_moments
from bench.replay_sets import FULL, REPEATED, SETS, WATCH, WATCHES, Size
from bench.run_replay import Replayed, run
from stream.backtest.quiet import thin

#: How many services of a set take part in its placebo changes, evenly spread; of the others all do.
SERVICES = {"jumpstarter": 10, "trainticket": 12}
INJECTED = ("+25%", "+50%", "+100%", "-50%", "ramp", "zero")
SINGLE = dict(zip(INJECTED, (0.65, 0.80, 0.90, 0.90, 0.75, 0.95), strict=True))
NAMED = {"+25%": 0.40, "+50%": 0.60, "+100%": 0.80, "ramp": 0.55, "zero": 0.98}
TOLD_AGAIN = 0.05
Row = Callable[["Cut"], Iterator[Line]]


@dataclass(frozen=True)
class Cut:
    """How much is measured; the cuts are the same every time."""

    quick: bool = False

    def few(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def size(self, name: str, moments: int = 1000) -> Size:
        """What `replay_quality` would take in full, with fewer services and moments."""
        size = replace(FULL, series=SERVICES.get(name, 1000), moments=moments)
        return replace(size, series=2, moments=6, repeats=4, rows=3_000, watches=(WATCH,)) if self.quick else size


def _runs(name: str, size: Size, what: str) -> dict[str, list[Replayed]]:
    """The replays of each line of a set that is of this kind, by its part."""
    return {part.part: [run(case) for case in part.make()] for part in SETS[name](size) if part.what == what}


def placebo(name: str, cut: Cut) -> Iterator[Line]:
    """Harmless changes of one set at each length of the watch."""
    thinned = f", {SERVICES[name]} services" if name in SERVICES else ""
    for part, runs in _runs(name, cut.size(name), "placebo").items():
        row = f"placebo per 1,000: {name}, {part}{thinned}"
        command = f"replay_quality --sets {name} --only placebo"
        yield placebo_line(row, rate(runs), 4, 7, command, silent_freezes(runs))


def labelled(cut: Cut) -> Iterator[Line]:
    """Labels where there are five days of history, and lasting labels of Microsoft's series a minute."""
    command = "replay_quality --sets {} --only labelled"
    onsets = [moment for moment in labelled_moments(jumpstarter.load()) if moment.index >= 1_440]
    onsets = thin(onsets, cut.few(1000, 4))
    case = copies("jumpstarter-labels", onsets, WATCH, harm="label", history=2_016)
    found = recall([run(case)])
    yield recall_line("labelled: JumpStarter, >= 5 days of history", found, 0.66, command.format("jumpstarter"))
    lasting = [
        moment
        for moment in labelled_moments(microsoft.load(60))
        if moment.service.labels[moment.index + 5 : moment.index + 10].all()
    ]
    case = copies("microsoft60-labels", lasting, WATCH, harm="label")
    row = "labelled: Microsoft 60 s, >= 5 samples"
    yield recall_line(row, recall([run(case)]), 0.75, command.format("microsoft60"))


def _injected(name: str, size: Size) -> dict[str, tuple[Recall, Recall]]:
    """By harm: the recall of all, and of those that it changes."""
    calm = frozen_moments(_runs(name, size, "untouched")["none"])
    return {
        harm: (
            recall(one, early_counts=False, without=calm),
            recall(one, early_counts=False, without=calm | unfelt_moments(one)),
        )
        for harm, one in _runs(name, replace(size, harms=INJECTED), "injected").items()
    }


def single(cut: Cut) -> Iterator[Line]:
    """Harm put into one series, and the same again and again in one stream."""
    size = cut.size("microsoft60", moments=80)
    found = _injected("microsoft60", size)
    command = "replay_quality --sets microsoft60 --only {}"
    for harm, least in SINGLE.items():
        row = f"injected, one series (Microsoft 60 s): {harm}"
        whole, felt = found[harm]
        yield recall_line(row, whole, least, command.format("injected"), felt)
    for harm, runs in _runs("microsoft60", replace(size, again=REPEATED), "repeated").items():
        least = max(0.0, found[harm][0].share - TOLD_AGAIN)
        row = f"the same at {cut.few(FULL.repeats, 4)} moments of each stream: {harm}"
        yield recall_line(row, recall(runs, early_counts=False), round(least, 3), command.format("repeated"))


def named(cut: Cut) -> Iterator[Line]:
    """Harm in three of five named guardrails of nineteen metrics."""
    found = _injected("jumpstarter", replace(cut.size("jumpstarter", moments=60), series=1))
    for harm, least in NAMED.items():
        row = f"injected, 3 of 5 named guardrails (JumpStarter): {harm}"
        whole, felt = found[harm]
        yield recall_line(row, whole, least, "replay_quality --sets jumpstarter --only injected", felt)


def shuffle(cut: Cut) -> Iterator[Line]:
    """The harm on one service, the change on another."""
    for name, moments in (("microsoft60", 80), ("jumpstarter", 60)):
        (runs,) = _runs(name, replace(cut.size(name, moments=moments), series=1), "shuffle").values()
        command = f"replay_quality --sets {name} --only shuffle"
        yield placebo_line(f"shuffle: {name}, the change on another service", rate(runs), 4, 7, command)


def silences(cut: Cut) -> Iterator[Line]:
    """What stays away, and how soon that is seen."""
    for what, way, runs in silence.measure(cut.few(40, 6)):
        row = f"silence as {way}: {what}, frozen within {silence.WITHIN} samples"
        yield share_line(row, *within(runs, silence.WITHIN), 0.95, "silence")


def petshop_issues(cut: Cut) -> Iterator[Line]:
    """The training issues with their own short history, and the change on an innocent component."""
    guilty, innocent = list(petshop.cases()), list(petshop.shuffled_cases())
    if cut.quick:
        guilty, innocent = guilty[:4], innocent[:4]
    found = recall([run(case) for case in guilty])
    row = "PetShop issues at the root, history of their own run"
    yield share_line(row, found.caught, found.harmful, 0.7, "petshop")
    wrong = rate([run(case) for case in innocent])
    yield placebo_line("PetShop: the change on an innocent one", wrong, 5, 5, "petshop")


def nezha(cut: Cut) -> Iterator[Line]:
    """The faulty pod beside its service's other pods."""
    (runs,) = _runs("onlineboutique", cut.size("onlineboutique"), "labelled").values()
    command = "replay_quality --sets onlineboutique --only labelled"
    yield recall_line("Nezha OnlineBoutique, the faulty pod", recall(runs), 0.40, command)


def short_histories(cut: Cut) -> Iterator[Line]:
    """Forty samples before the change."""
    for name in ("jumpstarter", "petshop"):
        found = rate(young.placebos(name, cut.few(40, 2)))
        yield placebo_line(f"40 samples before, placebo: {name}", found, 10, 10, "young")
    for harm in young.HARMS[: cut.few(2, 1)]:
        short, full = young.harmful(harm, cut.few(16, 2))
        least = round(full.share / 2, 3)
        row = f"40 samples before, {harm} in all metrics, at least half of full history"
        also = f"; with full history {full.caught} of {full.harmful}"
        yield share_line(row, short.caught, short.harmful, least, "young", also=also)


def small_vectors(cut: Cut) -> Iterator[Line]:
    """What other judges got wrong; draws of one vector are one line."""
    counts: dict[str, list[bool]] = {}
    for vector, said in vectors.measure():
        counts.setdefault(vector.name.partition(", draw ")[0], []).append(vectors.right(vector, said))
    for name, right in counts.items():
        figure = f"{sum(right)} of {len(right)} draws" if len(right) > 1 else "right" if right[0] else "wrong"
        yield Line(f"vector: {name}", "right", figure, all(right), "vectors")


ROWS: dict[str, Row] = {
    **{f"placebo-{name}": partial(placebo, name) for name in SETS},
    "labelled": labelled,
    "single": single,
    "named": named,
    "silence": silences,
    "petshop": petshop_issues,
    "nezha": nezha,
    "young": short_histories,
    "shuffle": shuffle,
    "vectors": small_vectors,
}


def together(lines: Sequence[Line]) -> Iterator[Line]:
    """All harmless changes of all sets, by length of the watch, and the freezes for a silence among them."""
    for watch in WATCHES:
        some = [line for line in lines if line.row.startswith("placebo") and f"watch {watch}" in line.row]
        changes = int(sum(line.numbers.get("changes", 0) for line in some))
        frozen = int(sum(line.numbers.get("frozen", 0) for line in some))
        if changes:
            figure = f"{1000 * frozen / changes:.1f} ({frozen} of {changes})"
            command = "replay_quality --only placebo"
            row = f"placebo per 1,000: all together, watch {watch}"
            yield Line(row, "<= 2", figure, 1000 * frozen / changes <= 2, command)
    some = [line for line in lines if line.row.startswith("placebo") and "changes" in line.numbers]
    changes, silent = (int(sum(line.numbers[name] for line in some)) for name in ("changes", "silent"))
    if changes:
        figure = f"{1000 * silent / changes:.1f} ({silent} of {changes} placebo changes)"
        kept = 1000 * silent / changes <= 2
        yield Line("silence: false per 1,000", "<= 2", figure, kept, "detection")
