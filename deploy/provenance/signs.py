"""The table of signs: which tools there are, under which identities they commit, and what each source weighs."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import msgspec

from deploy.change import Origin
from deploy.provenance.lookalike import fold

_NOREPLY = re.compile(r"(?:(?P<number>\d+)\+)?(?P<login>[^@+]+)@users\.noreply\.(?:github\.com|[\w.-]+)")
_IDENTITY = re.compile(r"(?P<name>[^<]*)<(?P<email>[^<>]*)>")


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tool; see `signs.toml` for the fields."""

    tool: str
    names: tuple[str, ...] = ()
    person: bool = False
    emails: tuple[str, ...] = ()
    github: tuple[int, ...] = ()
    logins: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    autonomy: str = ""
    ai: bool = True


class TrailerSign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a trailer of this key means."""

    key: str
    says: Origin = Origin.UNKNOWN
    weight: str = ""
    values: tuple[str, ...] = ()
    tool: str = ""
    identity: bool = False
    claim: bool = False


class MessageSign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a line of the message means."""

    pattern: str
    title: bool = False


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    weights: dict[str, float]
    trailers: tuple[TrailerSign, ...]
    messages: tuple[MessageSign, ...]
    tools: tuple[Tool, ...]


class Signs:
    """The table, indexed by what is looked up."""

    def __init__(self, table: _Table) -> None:
        self.weights = table.weights
        self.tools = {tool.tool: tool for tool in table.tools}
        self.trailers = {sign.key: sign for sign in table.trailers}
        self.messages = tuple((re.compile(sign.pattern), sign) for sign in table.messages)
        self._emails = {email: tool for tool in table.tools for email in tool.emails}
        self._numbers = {number: tool for tool in table.tools for number in tool.github}
        self._logins = {login: tool for tool in table.tools for login in tool.logins}
        self._names = {name: tool for tool in table.tools for name in (*tool.names, tool.tool)}

    def by_email(self, email: str) -> Tool | None:
        """The tool that commits under this address; a forge's noreply address counts by number, then by login."""
        email = fold(email).strip().lower()
        if tool := self._emails.get(email):
            return tool
        match = _NOREPLY.fullmatch(email)
        if match is None:
            return None
        numbered = self._numbers.get(int(match["number"])) if match["number"] else None
        return numbered or self._logins.get(match["login"])

    def by_account(self, login: str, number: int | None = None) -> Tool | None:
        """The tool behind an account of a forge; its number stays when the account is renamed."""
        found = self._numbers.get(number) if number is not None else None
        return found or self._logins.get(fold(login).strip().lower())

    def by_name(self, name: str) -> tuple[Tool, str] | None:
        """The tool of this name, and the model that the name goes on to say.

        >>> found = signs().by_name("Claude Opus 4.5")
        >>> found[0].tool, found[1]
        ('claude-code', 'claude-opus-4.5')
        """
        words = re.split(r"[\s_]+", fold(name).strip().lower())
        for length in range(len(words), 0, -1):
            if tool := self._names.get(" ".join(words[:length])):
                return tool, "-".join(words) if length < len(words) else ""
        return None

    def by_branch(self, branch: str) -> Tool | None:
        """The tool whose branches begin like this one."""
        branch = branch.lower()
        found = (tool for tool in self.tools.values() if tool.branches and branch.startswith(tool.branches))
        return next(found, None)


@cache
def signs() -> Signs:
    """The table that comes with haltline."""
    import tomllib  # only where a sign is looked up

    text = Path(__file__).with_name("signs.toml").read_text(encoding="utf-8")
    return Signs(msgspec.convert(tomllib.loads(text), _Table))


def split_identity(text: str) -> tuple[str, str]:
    """Name and address of `Name <address>`; the address is empty where there is none.

    >>> split_identity("Ada <ada@example.org>"), split_identity("some-agent")
    (('Ada', 'ada@example.org'), ('some-agent', ''))
    """
    match = _IDENTITY.search(text)
    return (match["name"].strip(), match["email"].strip()) if match else (text.strip(), "")
