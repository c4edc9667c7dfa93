"""Times and durations: what is read, what is refused, and that writing and reading agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.errors import InvalidTime
from deploy.times import EARLIEST_MS, LATEST_MS, format_duration, format_time, parse_duration, parse_time

times = st.integers(EARLIEST_MS, LATEST_MS - 1)


@given(times)
def test_a_written_time_reads_back_as_itself(milliseconds: int) -> None:
    assert parse_time(format_time(milliseconds)) == milliseconds


@given(times, times)
def test_written_times_sort_as_the_times_do(one: int, other: int) -> None:
    assert (format_time(one) < format_time(other)) == (one < other)


@pytest.mark.parametrize(
    "text",
    ["2026-11-21T09:14:03.12Z", "2026-11-21T09:14:03.120+00:00", "2026-11-21T10:14:03.120999+01:00"],
)
def test_offsets_and_fractions_name_the_same_millisecond(text: str) -> None:
    assert parse_time(text) == 1_795_252_443_120


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, "", "yesterday", "2026-11-21", "2026-11-21T09:14:03", 0, 1_763_716_443, -1, LATEST_MS, b"", []),
        *(float("nan"), float("inf"), 1e300, 1_763_716_443_000.5, "1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z"),
    ],
)
def test_a_time_that_no_clock_of_ours_has_shown_is_refused_in_one_line(value: object) -> None:
    with pytest.raises(InvalidTime) as refused:
        parse_time(value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("90s", 90_000),
        ("1h30m", 5_400_000),
        ("250ms", 250),
        ("1.5h", 5_400_000),
        ("7d", 604_800_000),
        ("2w", 1_209_600_000),
    ],
)
def test_durations_are_written_as_people_write_them(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    "value", ["", "30", "m", "-5m", "5 m", "5m!", "1h 30m", "9" * 400 + "d", "999999999d", None, 30]
)
def test_a_duration_without_a_unit_or_beyond_any_calendar_is_refused(value: object) -> None:
    with pytest.raises(InvalidTime, match="is not like"):
        parse_duration(value)


@given(st.integers(0, 1000 * 24 * 3600))
def test_a_written_duration_is_at_most_its_length_and_loses_only_its_smallest_units(seconds: int) -> None:
    written = parse_duration(format_duration(seconds * 1000))
    assert written <= seconds * 1000
    # Two units are kept: what is lost is less than the smaller of them.
    assert seconds * 1000 - written < (3_600_000 if seconds >= 86_400 else 60_000)
