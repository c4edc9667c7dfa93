"""What every detector holds, whatever it is good at; see `conformance.py`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.detectors.conformance import SUBJECTS, WATCH, Floats, Learned, Subject, Told

each = pytest.mark.parametrize("name", SUBJECTS)
#: River is Python all the way.
SLOW = settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


def noise(rows: int, columns: int, seed: int = 0, level: float = 20.0) -> Floats:
    return level * np.random.default_rng(seed).lognormal(0.0, 0.1, (rows, columns))


def past(subject: Subject, rows: int = 400, seed: int = 0) -> Floats:
    return subject.made(noise(rows, 3, seed))


def after(subject: Subject, rows: int = WATCH, seed: int = 1, factor: float = 1.0) -> Floats:
    block = noise(rows, 4, seed)
    block[:, 0] *= factor
    return subject.made(block)


def in_blocks(learned: Learned, block: Floats, *cuts: int) -> Told:
    """What one run says of a block that comes in pieces."""
    run = learned.start()
    told = [run(part) for part in np.split(block, sorted(cuts))]
    return {field: np.concatenate([one[field] for one in told]) for field in told[0]}


def same_bits(one: Told, other: Told) -> None:
    assert one.keys() == other.keys()
    for field in one:
        np.testing.assert_array_equal(one[field], other[field], err_msg=field)
        assert one[field].tobytes() == other[field].tobytes() or np.isnan(one[field]).any(), field


def sound(told: Told, rows: int) -> None:
    """A running log p: one a look, a number, never above zero, never rising."""
    log_p = told["log_p"]
    assert log_p.shape == (rows,)
    assert np.isfinite(log_p).all()
    assert (log_p <= 0.0).all()
    assert (np.diff(log_p) <= 0.0).all()


#: Numbers that telemetry really sends: small whole ones and ties, nothing, gaps, the very large and the very small.
wild = st.one_of(
    st.integers(0, 5).map(float),
    st.floats(-1e12, 1e12),
    st.floats(0.0, 1.0),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e300, -1e300, 1e-300, 0.0, -0.0]),
)


@st.composite
def matrices(draw: st.DrawFn, rows: st.SearchStrategy[int], columns: int) -> Floats:
    """Rows of wild numbers: a few are drawn, and repeated in an order that a seed gives."""
    count = draw(rows)
    pool = np.array(draw(st.lists(wild, min_size=1, max_size=12)))
    places = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(0, len(pool), (count, columns))
    return pool[places]


@each
@given(
    history=matrices(st.sampled_from([0, 1, 2, 11, 60, 150]), 3),
    block=matrices(st.integers(0, WATCH + 5), 4),
    cuts=st.lists(st.integers(0, WATCH + 5), max_size=3),
)
@SLOW
def test_whatever_comes_the_answer_is_sound_and_any_cut_gives_the_same_bits(
    name: str, history: Floats, block: Floats, cuts: list[int]
) -> None:
    subject = SUBJECTS[name]
    history, block = subject.made(history), subject.made(block)
    kept = history.copy(), block.copy()
    with np.errstate(all="ignore"):
        learned = subject.learn(history)
        whole = in_blocks(learned, block)
        sound(whole, len(block))
        same_bits(in_blocks(learned, block, *(min(cut, len(block)) for cut in cuts)), whole)
    np.testing.assert_array_equal(history, kept[0], err_msg="the past was written to")
    np.testing.assert_array_equal(block, kept[1], err_msg="the block was written to")


@each
def test_what_comes_later_changes_nothing_said_before(name: str) -> None:
    subject = SUBJECTS[name]
    learned = subject.learn(past(subject))
    block, other = after(subject), after(subject, factor=50.0, seed=9)
    other[:12] = block[:12]
    one, two = in_blocks(learned, block), in_blocks(learned, other)
    same_bits({field: values[:12] for field, values in one.items()}, {f: v[:12] for f, v in two.items()})


@each
def test_runs_of_one_past_know_nothing_of_each_other(name: str) -> None:
    subject = SUBJECTS[name]
    learned = subject.learn(past(subject))
    block = after(subject)
    alone = in_blocks(learned, block)
    first, second = learned.start(), learned.start()
    told = []
    for row in range(len(block)):
        told.append(first(block[row : row + 1]))
        second(after(subject, 1, seed=row, factor=30.0))
    same_bits({field: np.concatenate([one[field] for one in told]) for field in alone}, alone)


@each
def test_nothing_comes_and_nothing_is_said(name: str) -> None:
    subject = SUBJECTS[name]
    learned = subject.learn(past(subject))
    block = after(subject)
    run, told = learned.start(), in_blocks(learned, block)
    assert all(values.shape == (0,) for values in run(block[:0]).values())
    same_bits(run(block), told)
    assert all(values.shape == (0,) for values in run(block[:0]).values())


@each
@pytest.mark.parametrize("rows", [0, 1])
def test_no_past_and_one_sample_are_answered(name: str, rows: int) -> None:
    subject = SUBJECTS[name]
    learned = subject.learn(past(subject, rows))
    assert learned.ready is not bool(subject.needs)
    sound(in_blocks(learned, after(subject, 1)), 1)
    sound(in_blocks(learned, after(subject, factor=40.0)), WATCH)


@pytest.mark.parametrize("name", [name for name, subject in SUBJECTS.items() if subject.needs])
def test_too_little_past_is_not_ready_and_enough_is(name: str) -> None:
    subject = SUBJECTS[name]
    assert not subject.learn(past(subject, subject.needs - 1)).ready
    assert not subject.learn(np.full((400, 3), np.nan)).ready
    assert subject.learn(past(subject, 400)).ready


@pytest.mark.parametrize("name", [name for name, subject in SUBJECTS.items() if not subject.beside])
def test_without_a_past_nothing_is_evidence(name: str) -> None:
    subject = SUBJECTS[name]
    learned = subject.learn(past(subject, 5))
    assert in_blocks(learned, after(subject, factor=1e6))["log_p"].tolist() == [0.0] * WATCH


@pytest.mark.parametrize("name", [name for name in SUBJECTS if name != "silence"])
def test_missing_looks_are_no_evidence(name: str) -> None:
    subject = SUBJECTS[name]
    learned = subject.learn(past(subject))
    assert in_blocks(learned, np.full((WATCH, 4), np.nan))["log_p"].tolist() == [0.0] * WATCH
    # Nor do they end what was seen before, or bring more of it.
    harmed = after(subject, factor=4.0)
    harmed[10:] = np.nan
    log_p = in_blocks(learned, harmed)["log_p"]
    assert (log_p[10:] == log_p[9]).all()


@each
def test_gaps_in_the_past_leave_it_a_past(name: str) -> None:
    subject = SUBJECTS[name]
    history = past(subject, 600)
    history[np.random.default_rng(3).random(600) < 0.05] = np.nan
    history[200:230] = np.nan
    learned = subject.learn(history)
    assert learned.ready
    assert in_blocks(learned, after(subject))["log_p"][-1] > np.log(0.004)


@each
@pytest.mark.parametrize("value", [0.0, 1.0, 7.5, 1e300, -3.0, 1e-300])
def test_a_constant_that_stays_is_no_evidence(name: str, value: float) -> None:
    subject = SUBJECTS[name]
    learned = subject.learn(subject.made(np.full((400, 3), value)))
    told = in_blocks(learned, subject.made(np.full((WATCH, 4), value)))
    sound(told, WATCH)
    assert told["log_p"][-1] > np.log(0.1)


@pytest.mark.parametrize("name", [name for name, subject in SUBJECTS.items() if subject.unit])
@pytest.mark.parametrize("unit", [1e-9, 1e-3, 3.7, 1e6])
def test_the_unit_does_not_matter(name: str, unit: float) -> None:
    subject = SUBJECTS[name]
    for factor in (1.0, 1.6):
        history, block = past(subject), after(subject, factor=factor)
        told = in_blocks(subject.learn(history), block)["log_p"]
        other = in_blocks(subject.learn(history * unit), block * unit)["log_p"]
        np.testing.assert_allclose(other, told, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, subject in SUBJECTS.items() if subject.beside])
def test_the_order_of_the_old_members_does_not_matter_not_even_among_ties(name: str) -> None:
    subject = SUBJECTS[name]
    history, block = np.round(past(subject) / 4.0), np.round(after(subject, factor=2.0) / 4.0)
    told = in_blocks(subject.learn(history), block)["log_p"]
    turned = in_blocks(subject.learn(history[:, [2, 0, 1]]), block[:, [0, 3, 1, 2]])["log_p"]
    np.testing.assert_allclose(turned, told, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, subject in SUBJECTS.items() if subject.calibrated])
def test_resets_that_the_past_is_full_of_are_no_evidence(name: str) -> None:
    """Memory that grows until a restart, every fifty looks, in all members together and in each at its own time."""
    subject = SUBJECTS[name]
    for apart in (0, 17):
        looks = np.arange(2_000 + WATCH)[:, None] + apart * np.arange(4)
        saw = subject.made((10.0 + looks % 50) * noise(len(looks), 4, seed=5, level=1.0))
        learned = subject.learn(saw[:2_000, 1:])
        # The new member is the first old one going on where it was: the watch holds a reset of each.
        told = in_blocks(learned, np.column_stack([saw[2_000:, 1], saw[2_000:, 1:]]))
        assert told["log_p"][-1] > np.log(0.004)


@each
def test_the_same_again_is_rarely_evidence(name: str) -> None:
    """Forty harmless changes: at 2 % an expected 0.8, and 6 has a chance below one in 1,000."""
    subject = SUBJECTS[name]
    rows = 200
    loud = 0
    for seed in range(40):
        told = in_blocks(subject.learn(past(subject, rows, 2 * seed)), after(subject, seed=2 * seed + 1))
        loud += bool(told["log_p"][-1] <= np.log(0.02))
    assert loud < 6


#: What each is there to see, in the common shape.
HARM = dict.fromkeys(SUBJECTS, 5.0) | {"traffic": 0.0}


@each
def test_what_it_is_for_is_evidence(name: str) -> None:
    subject = SUBJECTS[name]
    block = after(subject, factor=HARM[name])
    if name == "silence":
        block[5:] = np.nan
    if name == "river on its own past":
        block *= 5.0
    told = in_blocks(subject.learn(past(subject, 1_500)), block)
    assert told["log_p"][-1] < np.log(0.05)
    assert told["log_p"][-1] < told["log_p"][0]
