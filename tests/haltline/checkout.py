"""Small git repositories with real git, for tests that read one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec

ADA = "Ada <ada@example.org>"


class Checkout:
    """A repository in a folder of its own; every commit is an hour after the one before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._time = 1_763_700_000
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *words: str, given: bytes | None = None, **environment: str) -> str:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(
            ["git", "-C", str(self.folder), *words],
            input=given,
            capture_output=True,
            check=False,
            env=clean | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "HOME": "/"} | environment,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def commit(
        self, message: str, *, author: str = ADA, committer: str = "", lines: int = 4, file: str = "", **more: str
    ) -> str:
        """Commit a file of so many lines with this message; gives the id."""
        self._time += 3_600
        path = self.folder / (file or f"file-{self._time}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{self._time} {number}\n" for number in range(lines)))
        self.git("add", "-A")
        names: dict[str, str] = {}
        for role, identity in (("AUTHOR", author), ("COMMITTER", committer or author)):
            name, _, email = identity.partition(" <")
            names |= {f"GIT_{role}_NAME": name, f"GIT_{role}_EMAIL": email.rstrip(">")}
            names[f"GIT_{role}_DATE"] = f"{self._time} +0000"
        self.git(
            "commit", "-q", "--allow-empty", "--cleanup=verbatim", "-F", "-", given=message.encode(), **names, **more
        )
        return self.head()

    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def note(self, commit: str, content: str) -> None:
        who = {
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@a",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@a",
        }
        self.git("notes", "--ref=refs/notes/ai", "add", "-f", "-F", "-", commit, given=content.encode(), **who)


def git_ai_note(base: str, attested: dict[str, dict[str, str]], *, person: str = "Grace", **fields: Any) -> str:
    """A note of git-ai: by file, ranges of lines by key; `s_` keys are one agent, `h_` keys a person."""
    keys = {key.partition("::")[0] for ranges in attested.values() for key in ranges}
    agent = {"agent_id": {"tool": "cursor", "id": "x", "model": "some-model"}, "human_author": "Ada <ada@example.org>"}
    metadata = {
        "schema_version": "authorship/3.0.0",
        "base_commit_sha": base,
        "prompts": {key: agent for key in keys if not key.startswith(("s_", "h_"))},
        "sessions": {key: agent for key in keys if key.startswith("s_")},
        "humans": {key: {"author": person} for key in keys if key.startswith("h_")},
    } | fields
    lines = [
        line for file, ranges in attested.items() for line in (file, *(f"  {key} {of}" for key, of in ranges.items()))
    ]
    return "\n".join([*lines, "---", msgspec.json.encode(metadata).decode()])
