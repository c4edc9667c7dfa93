"""The people of a policy: who a name is, and who is senior enough."""

from __future__ import annotations

import re
import unicodedata

from deploy.lookalike import skeleton
from deploy.policy import Policy

_IDENTITY = re.compile(r"([^<>]*)<([^<>]*)>\s*")
_NOREPLY = re.compile(r"(?:\d+[+-])?([^@+]+)@users\.noreply\.[\w.-]+")


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
        """Whether two names are one person's, or can be taken for one.

        >>> from deploy.policy import Person
        >>> people = People(Policy(people={"bo": Person(role="senior", aliases=("bo@example.org", "bo-gh"))}))
        >>> people.same("bo", "Bo B. <BO@example.org>"), people.same("bo", "7+bo-gh@users.noreply.github.com")
        (True, True)
        """
        mine, theirs = self._taken_for(one), self._taken_for(other)
        return not mine.isdisjoint(theirs)

    def _taken_for(self, name: str) -> set[str]:
        """What a name looks like and whom of the policy it can be taken for, in any part that names somebody."""
        looks = {skeleton(part) for part in _parts(name)} - {""}
        return looks | {self._looks[look] for look in looks if look in self._looks}

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


def _parts(name: str) -> list[str]:
    """`Bo B. <bo@example.org>` is a name and an address; a forge's noreply address has an account's name in it."""
    found = _IDENTITY.fullmatch(name)
    parts = [name, *found.groups()] if found else [name]
    return parts + [account[1] for part in parts if (account := _NOREPLY.fullmatch(part.strip()))]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()
