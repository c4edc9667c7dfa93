"""The yardsticks of `bench canary`: what a test that knows more than haltline can could do."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from bench.canary import information, knowing


@pytest.mark.parametrize("requests", [20.0, 100.0])
def test_what_is_told_both_rates_is_not_faster_than_lordens_bound_and_slower_if_not_told_when(requests):
    bound = log(200.0) / information(requests)
    told, not_told = (float(np.nanmean(knowing(400, requests, 200.0, onset))) for onset in (None, 60))
    assert bound < told < 1.5 * bound
    assert told < not_told < 3.0 * bound
