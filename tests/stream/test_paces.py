"""The pace of many signals in one call is that of each read by itself."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.paces import STEPS, last_before, usual_steps
from stream.samples import NEVER, Samples
from stream.series import Series
from stream.signals import SignalId, usual
from stream.slots import BEGUN, NEXT, PERIOD, YOUNG, Slots
from stream.slots import STEPS as FIRST_STEPS
from tests.factories import NOON, key

Told = list[list[list[int]]]


def signals(least: int, most: int) -> st.SearchStrategy[Told]:
    """Signals of some series each, of which each came at these times."""
    times = st.lists(st.integers(1, 40_000), min_size=least, max_size=most)
    return st.lists(st.lists(times, min_size=1, max_size=3), min_size=1, max_size=4)


def stored(told: Told, *, apart: bool = False) -> list[list[Series]]:
    store = Samples()
    owner = store.owner()
    found = []
    for number, series in enumerate(told):
        mine = [
            Series(key(f"m{number}", instance=f"p{place}"), *(() if apart else (store, owner)))
            for place in range(len(series))
        ]
        for one, steps in zip(mine, series, strict=True):
            one.extend(NOON + np.cumsum(np.array(steps, np.int64)), np.ones(len(steps)))
        found.append(mine)
    return found


@given(signals(0, 90), st.integers(0, 1_000_000), st.booleans())
def test_the_usual_step_is_that_of_the_last_samples(told: Told, later: int, apart: bool) -> None:
    made, moment = stored(told, apart=apart), NOON + later
    for found, series in zip(usual_steps(made, moment).tolist(), made, strict=True):
        steps = [np.diff(one.times[one.times <= moment][-STEPS:]) for one in series]
        together = np.sort(np.concatenate(steps))
        assert found == (together[(len(together) - 1) // 2] if len(together) else 0)
    for series in made:
        before = [one.times[one.times <= moment] for one in series]
        assert last_before(series, moment).tolist() == [int(one[-1]) if len(one) else NEVER for one in before]


@given(signals(20, 90), st.integers(0, 2_000_000), st.integers(0, 400_000), st.sampled_from([0, 20]))
def test_the_first_steps_tell_the_period_of_each_signal(told: Told, later: int, begun: int, lag: int) -> None:
    made, until = stored(told), NOON + later
    series = {one.key: one for mine in made for one in mine}
    slots = Slots({SignalId(mine[0].key.metric): [one.key for one in mine] for mine in made}, series)
    slots.facts[:, BEGUN] = NOON + begun
    found = slots.begin(range(len(made)), made[0][0].samples, until, lag)
    for number, mine in enumerate(made):
        times = [one.times[(one.times > NOON + begun) & (one.times <= until)][: FIRST_STEPS + 1] for one in mine]
        steps = sorted((int(after), int(after - one)) for now in times for one, after in pairwise(now))
        if len(steps) < FIRST_STEPS:
            assert number not in found
            continue
        period, last = usual(np.array([step for _, step in steps[:FIRST_STEPS]])), steps[FIRST_STEPS - 1][0]
        assert (number in found) == (last + lag * period <= until)
        if number in found:
            assert slots.facts[number, PERIOD] == period
            assert slots.facts[number, NEXT] == min(int(one[0]) for one in times if len(one)) // period - 1
        else:
            assert slots.facts[number, YOUNG] == last + lag * period
