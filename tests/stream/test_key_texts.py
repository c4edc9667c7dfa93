"""The keys of rows as bytes: what was put last, and no memory for what was put before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stream.key_texts
from stream.columns import SeriesKey
from stream.key_texts import KeyTexts


def key(instance: str) -> SeriesKey:
    return SeriesKey("checkout", "production", "latency", (("route", "/"),), "v1", instance)


@given(
    puts=st.lists(st.tuples(st.integers(0, 5), st.text(max_size=20)), min_size=1, max_size=60), cut=st.integers(0, 60)
)
def test_each_row_has_the_key_that_was_put_last(puts: list[tuple[int, str]], cut: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream.key_texts, "_WORTH", 100)
        texts, wanted = KeyTexts(), dict[int, SeriesKey]()
        for row in range(6):
            texts.put(row, key(""))
            wanted[row] = key("")
        for number, (row, instance) in enumerate(puts):
            texts.put(row, key(instance))
            wanted[row] = key(instance)
            if number == cut:
                texts = KeyTexts.from_arrays(texts.arrays())
        assert texts.keys() == [wanted[row] for row in range(6)]


def test_series_that_come_and_go_take_no_more_and_more_memory() -> None:
    texts = KeyTexts()
    for number in range(30_000):
        texts.put(number % 100, key(f"pod-{number}"))
        if number == 20_000:
            texts = KeyTexts.from_arrays(texts.arrays())
    assert texts.keys()[0] == key("pod-29900")
    held = texts.arrays()
    alive = int(np.diff(held["places"]).sum())
    assert len(held["text"]) < alive + 2 * stream.key_texts._WORTH
