"""The people of a policy: who a name is, and who is senior enough."""

from __future__ import annotations

import unicodedata

from deploy.lookalike import skeleton
from deploy.policy import Policy


class People:
    """Everybody the policy names, found by any name they go by, whatever its case.

    >>> from deploy.policy import Person
    >>> people = People(Policy(people={"ada": Person(role="senior", aliases=("ada@example.org",))}))
    >>> people.find("Ada@Example.org"), people.find("eve"), people.senior("ada", "member"), people.senior("ada", "lead")
    ('ada', None, True, False)
    """

    def __init__(self, policy: Policy) -> None:
        self._ranks = {role: rank for rank, role in enumerate(policy.approvals.roles)}
        self._roles = {who: person.role for who, person in policy.people.items()}
        self._names = {_folded(name): who for who, one in policy.people.items() for name in (who, *one.aliases)}
        self._looks = {skeleton(name): who for name, who in self._names.items()}
        self.most_senior = policy.approvals.roles[-1]

    def find(self, name: str) -> str | None:
        return self._names.get(_folded(name))

    def looks_like(self, name: str) -> str | None:
        """The person that a name can be taken for and is not."""
        return None if self.find(name) is not None else self._looks.get(skeleton(name))

    def same(self, one: str, other: str) -> bool:
        """Whether two names are one person's, or can be taken for one."""
        if not one or not other:
            return False
        known = self.find(one), self.find(other)
        return (known[0] is not None and known[0] == known[1]) or skeleton(one) == skeleton(other)

    def role(self, who: str) -> str:
        return self._roles.get(who, "")

    def senior(self, who: str, role: str) -> bool:
        """Whether this person has the role or a more senior one; everybody whom the policy names has the empty one."""
        if not role:
            return who in self._roles
        return self._ranks.get(self._roles.get(who, ""), -1) >= self._ranks[role]

    def with_role(self, role: str) -> tuple[str, ...]:
        """Everybody who is senior enough, sorted."""
        return tuple(sorted(who for who in self._roles if self.senior(who, role)))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()
