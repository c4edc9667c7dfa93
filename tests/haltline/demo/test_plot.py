"""The picture and the figures say what the clocks and counters said."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from haltline.demo.observer import Sample, Second, Weight
from haltline.demo.plot import Incident, draw, ratios
from haltline.demo.summary import damage

HARM = 1_795_266_150_613


def incident(**changes: object) -> Incident:
    full = HARM // 1_000 * 1_000
    old = [Sample(full + 1_000 * second + 4, "pricing", "v1", "a", 75, second % 2) for second in range(-20, 25)]
    new = [Sample(full + 1_000 * second + 9, "pricing", "v2", "b", 25, 10) for second in range(1, 8)]
    weights = [Weight(HARM + 1_400, "pricing-733", 12.0), Weight(HARM + 5_400, "pricing-733", 110.0)]
    fields: dict[str, object] = {
        "service": "pricing",
        "change": "pricing-733",
        "old": "v1",
        "new": "v2",
        "samples": [*old, *new],
        "weights": weights,
        "harm": HARM,
        "frozen": HARM + 2_400,
        "healthy": HARM + 7_900,
        "unfrozen": HARM + 20_600,
        "reason": "error_ratio 0.4 > 0.007 (n=10/25 against 1/75, e=1e5)",
        "error_rate": 0.004,
    }
    return Incident(**(fields | changes))  # type: ignore[arg-type]  # a factory of plain fields


def test_it_renders_as_a_png_of_some_size_and_a_well_formed_svg(tmp_path: Path) -> None:
    from PIL import Image

    png, svg = draw(incident(), tmp_path / "deep" / "out")
    with Image.open(png) as image:
        assert image.width > 1_000
        assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 100, "more than an empty page"
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


@pytest.mark.parametrize("changes", [{"samples": []}, {"weights": []}, {"weights": [Weight(HARM, "other", 1.0)]}])
def test_it_renders_with_whatever_is_missing(tmp_path: Path, changes: dict[str, object]) -> None:
    assert all(path.stat().st_size > 0 for path in draw(incident(**changes), tmp_path))


def test_ratios_are_percent_of_the_second_and_only_of_that_version() -> None:
    at, ratio = ratios(incident(), "v2")
    assert ratio == [40.0] * 7
    assert at[0] == pytest.approx(0.387)
    assert set(ratios(incident(), "v1")[1]) == {0.0, 100 / 75}


def test_damage_counts_a_customer_once_however_often_it_was_hit() -> None:
    seconds = [
        Second(10_000, (1, 2), (9,)),
        Second(11_000, (3, 4), (5, 5)),
        Second(12_000, (5, 1), (6,)),
        Second(14_000, (7,), (8,)),
    ]
    during = damage(seconds, since=10_500, until=11_800)
    assert (during.checkouts, during.failed, during.customers, during.hit) == (7, 3, 5, 2)
    assert damage([], 0, 1).hit_share == 0.0
