"""Trailers are what git says they are, and nothing that is quoted."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.provenance.trailers import trailers


def keys(message: str) -> list[str]:
    return [one.key for one in trailers(message)]


def gits(message: str) -> list[str]:
    """What git itself finds in this message."""
    done = subprocess.run(
        ["git", "-c", "core.commentChar=#", "interpret-trailers", "--parse", "--no-divider"],
        input=message.encode(),
        capture_output=True,
        check=True,
        env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
    )
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("Title\n\nAssisted-by: a", ["Assisted-by"]),
        ("Title\n\nBody.\n\nAssisted-by: a\nFixes: #3\n\n", ["Assisted-by", "Fixes"]),
        ("Title\n\nassisted-BY : a", ["assisted-BY"]),
        ("Assisted-by: a", []),
        ("Title\nAssisted-by: a", []),
        ("Title\n\nAssisted-by: a\n\nThe end.", []),
        ("Title\n\nBody\nAssisted-by: a", []),
        ("Title\n\nSome words\nAssisted-by: a\nSigned-off-by: B <b@x>", ["Assisted-by", "Signed-off-by"]),
        ("Title\n\nAssisted-by: a\n  and b", ["Assisted-by"]),
    ],
)
def test_only_the_last_paragraph_holds_trailers(message: str, found: list[str]) -> None:
    assert keys(message) == found
    assert [line.partition(":")[0] for line in gits(message)] == found


@pytest.mark.parametrize(
    "message",
    [
        "Title\n\nAs they wrote:\n\n> Assisted-by: a",
        "Title\n\n    Assisted-by: a",
        "Title\n\nAdd:\n\n```\nAssisted-by: a\nSigned-off-by: b <b@x>\n```",
        "Title\n\n~~~\nExample\n\nAssisted-by: a",
        'Title\n\n"Assisted-by: a"',
        "Title\n\n* Assisted-by: a",
    ],
)
def test_a_trailer_inside_a_quotation_is_none(message: str) -> None:
    assert keys(message) == []


def test_a_key_of_foreign_letters_is_read_as_what_it_looks_like_and_told() -> None:
    (one,) = trailers("Title\n\nАssisted‑by: some-agent")
    assert (one.key, one.value, one.disguised) == ("Assisted-by", "some-agent", True)


line = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "Assisted-by: a",
            "Signed-off-by: A <a@x>",
            "words here",
            "  more",
            "Key: value",
            "x : y",
            ":no",
            "-k: v",
        ]
    ),
    st.text(alphabet="ab:- \t", max_size=8),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(line, max_size=9))
def test_what_is_found_is_what_git_finds(lines: list[str]) -> None:
    message = "Title\n" + "\n".join(lines)
    said = [one.partition(":")[0] for one in gits(message)]
    # git's configuration may know more keys than the two that it writes itself; here there is none.
    assert keys(message) == said
