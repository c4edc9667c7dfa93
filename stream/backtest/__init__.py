"""Backtest: what haltline would have done in a team's own history, before anybody lets it stop anything.

* `quiet`: moments at which nothing happened, where a change that never was (a placebo) must not be frozen;
* `incidents`: which recorded changes are known to have done harm;
* `ghost`: a change watched as if it had been made, beside everything that was recorded, by the product's own code;
* `shifts`: harm put into real samples, to learn what a metric can show;
* `curve`: one metric before and after one change;
* `proportion`: shares with honest intervals;
* `guardrails`, `advice`: which metrics to name, which error rate and length of the watch follow from it;
* `cast`, `sightings`: which ghosts are put where, and what they told;
* `run`: all of it, in the order of time; `result`: what comes out.
"""

from stream.backtest.incidents import Label, read_labels
from stream.backtest.result import Backtest
from stream.backtest.run import Options, backtest

__all__ = ["Backtest", "Label", "Options", "backtest", "read_labels"]
