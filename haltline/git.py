"""A git checkout, read with git's own plumbing: streaming, without a shell, and without a network.

Nothing of the repository is run: no hook, no external diff, no filter, no monitor.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from deploy.provenance.commit import Commit
from haltline.errors import HaltlineError, NotFound

#: Of a longer message the beginning and the end are kept.
LONGEST_MESSAGE = 1 << 20
#: A larger object is passed over.
LARGEST_BLOB = 8 << 20
_SAFE = ("-c", "core.fsmonitor=false", "-c", "log.showSignature=false", "-c", "core.pager=cat", "-c", "color.ui=false")
_MARK = "\x01"
_FIELDS = ("%H", "%P", "%an <%ae>", "%cn <%ce>", "%at", "%B")
_STAT = re.compile(r" (\d+) (insertion|deletion)s?\([+-]\)")


class Repository:
    """One repository, found from a folder in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not folder.is_dir():
            raise NotFound(f"{folder}: no such folder")
        self.top = Path(self._line("rev-parse", "--absolute-git-dir"))
        work_tree = self._line("rev-parse", "--is-inside-work-tree") == "true"
        self.work_tree = Path(self._line("rev-parse", "--show-toplevel")) if work_tree else None
        self._shallow = self._boundary()

    @property
    def shallow(self) -> bool:
        return bool(self._shallow)

    def empty(self) -> bool:
        """Whether there is no commit yet."""
        return self._try("rev-parse", "--verify", "--quiet", "HEAD^{commit}") is None

    def commit(self, name: str) -> str | None:
        """The id of the one commit that a name means, None where it means none or a range."""
        return self._try("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")

    def commits(self, revisions: str, limit: int | None = None) -> Iterator[Commit]:
        """The commits of a range, or reached from a revision, newest first.

        Raises:
            NotFound: git knows no such revision or range.
        """
        form = f"%x00{_MARK}%x00" + "%x00".join(_FIELDS)
        count = () if limit is None else (f"--max-count={limit}",)
        words = ("log", "-z", f"--format={form}", "--encoding=UTF-8", "--shortstat", "--find-renames", "--no-ext-diff",
                 "--no-textconv", "--no-color", "--no-show-signature", "--no-notes", *count,
                 "--end-of-options", revisions, "--")  # fmt: skip
        with self._stream(*words) as output:
            yield from self._read(_tokens(output))

    def commits_named(self, names: Iterable[str]) -> Iterator[Commit]:
        """These commits, those that are gone left out; without their lines."""
        form = f"%x00{_MARK}%x00" + "%x00".join(_FIELDS)
        words = ("log", "-z", f"--format={form}", "--encoding=UTF-8", "--no-walk=unsorted", "--stdin",
                 "--ignore-missing", "--no-color", "--no-show-signature", "--no-notes")  # fmt: skip
        with self._stream(*words, given="".join(f"{name}\n" for name in names)) as output:
            yield from self._read(_tokens(output))

    def notes(self, ref: str) -> dict[str, str]:
        """The notes under a ref: the id of the note by that of its commit."""
        if self._try("rev-parse", "--verify", "--quiet", ref) is None:
            return {}
        pairs = (line.split() for line in self._run("notes", f"--ref={ref}", "list").splitlines())
        return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}

    def gone(self, commits: Iterable[str], head: str) -> list[str]:
        """Those of these commits that still exist and that `head` does not reach."""
        names = list(commits)
        if not names:
            return []
        given = "".join(f"{name}\n" for name in [*names, f"^{head}"])
        with self._stream("rev-list", "--stdin", "--ignore-missing", given=given) as output:
            known = set(names)
            return [name for line in output if (name := line.decode().strip()) in known]

    @contextmanager
    def blobs(self) -> Iterator[Blobs]:
        """A reader of objects, open while the block runs."""
        with subprocess.Popen(
            self._words("cat-file", "--batch"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=_environment(),
        ) as process:  # fmt: skip
            assert process.stdin is not None and process.stdout is not None
            try:
                yield Blobs(process.stdin, process.stdout)
            finally:
                process.stdin.close()
                process.stdout.close()

    def _boundary(self) -> frozenset[str]:
        """The commits of a shallow clone whose parents are not here: git would count their whole tree as added."""
        path = Path(self._line("rev-parse", "--git-path", "shallow"))
        path = path if path.is_absolute() else self._folder / path
        try:
            return frozenset(path.read_text(encoding="ascii").split())
        except OSError:
            return frozenset()

    def _read(self, tokens: Iterator[str]) -> Iterator[Commit]:
        """The commits in git's output: a mark, the fields, and what follows about lines until the next mark."""
        token = next(tokens, None)
        while token is not None:
            if token != _MARK:
                token = next(tokens, None)
                continue
            fields = [next(tokens, "") for _ in _FIELDS]
            stat, token = "", next(tokens, None)
            while token is not None and token != _MARK:
                stat, token = stat + token, next(tokens, None)
            yield self._commit(fields, stat)

    def _commit(self, fields: list[str], stat: str) -> Commit:
        revision, parents, author, committer, authored, message = fields
        counts = {what: int(number) for number, what in _STAT.findall(stat)}
        merge, cut = " " in parents, revision in self._shallow
        return Commit(
            revision=revision,
            author=author,
            committer=committer,
            authored_at=int(authored) * 1_000 if authored.lstrip("-").isdigit() else 0,
            message=message,
            parents=tuple(parents.split()),
            # A merge adds nothing of its own that git would show.
            added=None if cut else 0 if merge else counts.get("insertion", 0),
            removed=None if cut else 0 if merge else counts.get("deletion", 0),
        )

    def _words(self, *words: str) -> list[str]:
        return ["git", "-C", str(self._folder), *_SAFE, *words]

    def _run(self, *words: str) -> str:
        try:
            done = subprocess.run(
                self._words(*words), capture_output=True, check=False, env=_environment(), stdin=subprocess.DEVNULL
            )
        except FileNotFoundError:
            raise HaltlineError("git is not installed; haltline reads checkouts with it") from None
        if done.returncode != 0:
            raise NotFound(_said(done.stderr))
        return done.stdout.decode(errors="replace")

    def _line(self, *words: str) -> str:
        return self._run(*words).strip()

    def _try(self, *words: str) -> str | None:
        try:
            return self._line(*words) or None
        except NotFound:
            return None

    @contextmanager
    def _stream(self, *words: str, given: str | None = None) -> Iterator[IO[bytes]]:
        """Git's output as it comes. What is given to it comes from a file, so that neither waits for the other."""
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as complaints:
            source.write((given or "").encode())
            source.seek(0)
            with subprocess.Popen(
                self._words(*words), stdin=source, stdout=subprocess.PIPE, stderr=complaints, env=_environment()
            ) as process:
                assert process.stdout is not None
                try:
                    yield process.stdout
                except BaseException:
                    process.kill()
                    raise
                if process.stdout.read(1):  # whoever reads has had enough
                    process.kill()
                    return
                code = process.wait()
            if code != 0:
                complaints.seek(0)
                raise NotFound(_said(complaints.read(4_096)))


class Blobs:
    """Reads objects one after the other through one `git cat-file`."""

    def __init__(self, ask: IO[bytes], answer: IO[bytes]) -> None:
        self._ask, self._answer = ask, answer

    def read(self, name: str) -> bytes | None:
        """The content of a blob; None for one that is missing or larger than `LARGEST_BLOB`."""
        self._ask.write(f"{name}\n".encode())
        self._ask.flush()
        head = self._answer.readline().split()
        if len(head) != 3 or not head[2].isdigit():
            return None
        size = int(head[2])
        if size <= LARGEST_BLOB:
            content = self._answer.read(size + 1)[:size]
            return content if head[1] == b"blob" else None
        left = size + 1
        while left > 0:
            left -= len(self._answer.read(min(left, 1 << 20))) or left
        return None


def _tokens(output: IO[bytes]) -> Iterator[str]:
    """What stands between the zero bytes of git's output."""
    kept = bytearray()
    while chunk := output.read(1 << 16):
        *whole, rest = chunk.split(b"\0")
        for part in whole:
            kept += part
            yield kept.decode(errors="replace")
            kept.clear()
        kept += rest
        if len(kept) > 2 * LONGEST_MESSAGE:
            # Title and trailers stand at the ends; what lies between could be of any length.
            del kept[LONGEST_MESSAGE // 2 : -LONGEST_MESSAGE // 2]
    if kept:
        yield kept.decode(errors="replace")


def _environment() -> dict[str, str]:
    """Git speaks English, asks nobody, takes no lock and reaches no network, not even for a partial clone's objects."""
    return os.environ | {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "",
    }


def _said(complaint: bytes) -> str:
    """What git complains about, in one line."""
    lines = [line for line in complaint.decode(errors="replace").splitlines() if line.strip()]
    line = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[0] if lines else "git failed")
    return re.sub(r"^(?:fatal|error): ", "git: ", line)
