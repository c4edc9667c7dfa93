"""Kubernetes: `kubectl diff` and `argocd app diff`, what kubectl prints in a dry run, and an Argo CD Application.

Sources: kubernetes/kubectl `pkg/cmd/diff/diff.go` (file names), `pkg/cmd/apply`, `pkg/cmd/delete` (dry-run lines),
argoproj/argo-cd `cmd/argocd/commands/app.go` (headers) and `pkg/apis/application/v1alpha1/types.go` (requiresPruning).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from deploy.plans.plan import Found

_HEADER = re.compile(r"diff (?:-\S+ )*(?P<live>\S+) (?P<merged>\S+)$")
#: `apps.v1.Deployment.shop.web`, `v1.Namespace..prod`: group, version, kind, namespace, name.
_FILE = re.compile(
    r"(?:[\w.-]+\.)?v\d+(?:(?:alpha|beta)\d+)?\.(?P<kind>[A-Z]\w*)\.(?P<namespace>[a-z0-9-]*)\.(?P<name>\S+)$"
)
_HUNK = re.compile(r"@@ -\d+(?:,(?P<old>\d+))? \+\d+(?:,(?P<new>\d+))? @@")
_ARGO = re.compile(r"=====+ (?P<group>[\w.-]*)/(?P<kind>\w+) (?P<namespace>[\w.-]*)/(?P<name>\S+) =====+$")
_NORMAL = re.compile(r"\d+(?:,\d+)?(?P<what>[acd])\d+(?:,\d+)?$")
_SAID = re.compile(
    r"""(?P<kind>[a-z][\w-]*)(?:\.[\w.-]+)?[/ ]"?(?P<name>[^\s"]+)"?\ (?:from\ \S+\ namespace\ )?(?P<what>[a-z -]+?)
        (?:\ \((?:server\ |client\ )?dry\ run\))?$""",
    re.VERBOSE,
)
_WORDS = {
    "created": "", "configured": "", "unchanged": "", "serverside-applied": "", "patched": "", "scaled": "",
    "labeled": "", "annotated": "", "not labeled": "", "restarted": "", "image updated": "", "edited": "",
    "deleted": "delete", "force deleted": "delete", "pruned": "delete", "replaced": "recreate",
}  # fmt: skip
_NOISE = re.compile(r"(?:warning|W\d{4}|I\d{4}|---$|\\ No newline at end of file|exit status \d+)", re.IGNORECASE)


def accepts(start: str) -> bool:
    """Whether a text begins as one of these does."""
    lines = [line for line in start.splitlines() if line.strip()][:20]
    return any(_HEADER.match(line) or _ARGO.match(line) or _said(line) is not None for line in lines)


def read_text(data: Any, found: Found) -> None:
    """A text is read line by line: within a hunk exactly as many lines as its header says are content."""
    kind = name = ""
    old = new = 0
    uid_gone = normal = False
    #: The line of a header that nothing has followed yet.
    bare = 0
    for number, line in enumerate(bytes(data).decode(errors="replace").removesuffix("\n").split("\n"), 1):
        line = line.rstrip("\r")
        if old or new:
            mark = line[:1]
            old -= mark in ("-", " ", "")
            new -= mark in ("+", " ", "")
            uid_gone = uid_gone or (mark == "-" and line[1:].startswith("  uid: "))
            if uid_gone and mark == "+" and line[1:].startswith("  uid: "):
                found.destroys("recreate", kind, name)
                uid_gone = False
            if old < 0 or new < 0 or mark not in ("-", "+", " ", "", "\\"):
                found.unknown(f"line {number}: the hunk is not as long as its header says")
                old = new = 0
        elif header := _HEADER.match(line):
            _followed(bare, found)
            kind, name = _object(header["live"])
            uid_gone = normal = False
            bare = number
            found.resources += 1
            if not kind:
                found.unknown(f"line {number}: {header['live'][-100:]} names no object of Kubernetes")
        elif header := _ARGO.match(line):
            _followed(bare, found)
            kind, name = header["kind"], _named(header["namespace"], header["name"])
            normal = True
            bare = number
            found.resources += 1
        elif hunk := _HUNK.match(line):
            old, new, bare = int(hunk["old"] or 1), int(hunk["new"] or 1), 0
            if new == 0:
                found.destroys("delete", kind, name)
        elif normal and (hunk := _NORMAL.match(line)):
            bare = 0
            # The whole object goes where nothing is left of it, which is a deletion before the first line.
            if hunk["what"] == "d" and line.endswith("d0"):
                found.destroys("delete", kind, name)
        elif line.startswith(("< ", "> ") if normal else ("--- ", "+++ ")) or not line.strip() or _NOISE.match(line):
            continue
        elif (said := _said(line)) is not None:
            found.resources += 1
            if said[0]:
                found.destroys(*said)
        else:
            found.unknown(f"line {number}: {line[:200]!r} is not known")
    _followed(bare, found)
    if old or new:
        found.unknown("it ends within a hunk, so it is not whole")


def _followed(bare: int, found: Found) -> None:
    """A header is followed by what differs, or the text was cut off."""
    if bare:
        found.unknown(f"line {bare}: nothing follows this header, so it is not whole")


def _said(line: str) -> tuple[str, str, str] | None:
    """What one line of kubectl's says: the verb, empty where nothing is destroyed, the kind and the name."""
    found = _SAID.match(line.strip())
    verb = None if found is None else _WORDS.get(found["what"])
    return None if found is None or verb is None else (verb, found["kind"], found["name"])


def _object(path: str) -> tuple[str, str]:
    found = _FILE.match(path.rpartition("/")[2])
    return ("", path) if found is None else (found["kind"], _named(found["namespace"], found["name"]))


def _named(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


class _Resource(msgspec.Struct, frozen=True):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    requiresPruning: bool = False  # noqa: N815  # the field's own name


class _Status(msgspec.Struct, frozen=True):
    resources: tuple[_Resource, ...] | None = None


class _Application(msgspec.Struct, frozen=True):
    status: _Status | None = None


def read_application(data: Any, found: Found) -> None:
    """An Application of Argo CD before its sync: what it would prune."""
    status = msgspec.json.decode(data, type=_Application).status
    if status is None or status.resources is None:
        found.unknown("the Application has no status.resources, so what a sync would prune is not in it")
        return
    for resource in status.resources:
        found.resources += 1
        if resource.requiresPruning:
            found.destroys("delete", resource.kind, _named(resource.namespace, resource.name))
