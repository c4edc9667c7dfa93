"""The bench of cost measures what it says, on small parts."""

import numpy as np

from bench import cost


def test_every_way_is_fed_the_same_series():
    assert [values.tolist() for _, values in cost.samples(3, 5)] == [
        values.tolist() for _, values in cost.samples(3, 5)
    ]
    times = [time for time, _ in cost.samples(3, 5)]
    assert np.diff(times).tolist() == [60_000] * 4


def test_the_online_past_is_measured_with_a_known_season_and_its_whole_state():
    found = cost.online(5, 20)
    assert found.series_bytes <= 2048
    assert min(found.point_us, found.point_best_us, found.calibration_ms) > 0.0


def test_objects_are_counted_one_a_series():
    made = []

    def make(number):
        kept = np.zeros(1000)
        made.append(number)
        return lambda value: kept.sum() + value

    found = cost.of_objects("sums", make, 4, 20)
    assert made == [0, 1, 2, 3]
    assert 8000 <= found.series_bytes < 12_000


def test_the_plot_is_drawn(tmp_path):
    cost.draw([cost.Cost("a", 10, 0.1, 0.1, 200.0, 1.0), cost.Cost("b", 10, 2.0, 1.0, 9e5)], tmp_path / "cost.png")
    assert (tmp_path / "cost.png").stat().st_size > 1000
