"""Which policy is in force when: one replaces another at a moment, and each change keeps that of its own beginning."""

from __future__ import annotations

from bisect import bisect_right

from deploy.policy.model import Policy


class Policies:
    """The policies of one place over time, `first` until another is taken.

    >>> policies = Policies(Policy())
    >>> policies.take(Policy(version=2), since=100)
    >>> [policies.at(time).version for time in (0, 99, 100, 500)]
    [1, 1, 2, 2]
    """

    def __init__(self, first: Policy) -> None:
        self._all = [first]
        self._since: list[int] = []

    @classmethod
    def of(cls, policy: Policy | Policies) -> Policies:
        """One policy for ever, or those given."""
        return policy if isinstance(policy, Policies) else cls(policy)

    def take(self, policy: Policy, since: int) -> None:
        """From `since` (Unix ms) on this one is in force; of two of one moment the one taken later."""
        place = bisect_right(self._since, since)
        self._since.insert(place, since)
        self._all.insert(place + 1, policy)

    def at(self, time: int) -> Policy:
        """The policy in force at `time`."""
        return self._all[bisect_right(self._since, time)]

    def until(self, time: int) -> list[Policy]:
        """Every policy that was in force by `time`, the first first."""
        return self._all[: bisect_right(self._since, time) + 1]

    def since(self, time: int) -> list[int]:
        """From when on (Unix ms) each of `until(time)` but the first is in force."""
        return self._since[: bisect_right(self._since, time)]

    @property
    def latest(self) -> Policy:
        return self._all[-1]
