"""Who calls whom: how far down the call graph of the policy one service depends on another."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.policy import Policy


class Calls:
    """The call graph that a policy declares; distances are found once a service.

    >>> from deploy.policy import Service
    >>> calls = Calls(Policy(services={"web": Service(calls=("cart",)), "cart": Service(calls=("db",))}))
    >>> calls.down("web", "db"), calls.down("db", "web"), calls.callers("db")
    (2, None, ('cart',))
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._below: dict[str, Mapping[str, int]] = {}
        #: Whether anybody wrote down who calls whom.
        self.known = any(service.calls for service in policy.services.values())

    def down(self, service: str, callee: str) -> int | None:
        """Calls from `service` down to `callee`, 0 for itself; None where there is no way."""
        reached = self._below.get(service)
        if reached is None:
            reached = self._below[service] = self._walk(service)
        return reached.get(callee)

    def related(self, one: str, other: str) -> bool:
        """Whether one of the two depends on the other, near or far."""
        return self.down(one, other) is not None or self.down(other, one) is not None

    def callees(self, service: str) -> tuple[str, ...]:
        """The services that it calls itself, sorted."""
        return tuple(sorted(set(self._policy.calls(service)) - {service}))

    def callers(self, service: str) -> tuple[str, ...]:
        """The services that call it themselves, sorted."""
        named = self._policy.services.items()
        return tuple(sorted(name for name, one in named if service in one.calls and name != service))

    def _walk(self, service: str) -> Mapping[str, int]:
        reached = {service: 0}
        frontier = [service]
        for name in frontier:
            for called in self._policy.calls(name):
                if called not in reached:
                    reached[called] = reached[name] + 1
                    frontier.append(called)
        return reached
