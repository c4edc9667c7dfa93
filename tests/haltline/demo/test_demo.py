"""The demo as a person starts it: the whole story on a Kafka of its own, and nothing left behind however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

GENEROUS_S = 300.0
pytestmark = pytest.mark.kafka


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`haltline demo`, started."""
    with start(tmp_path) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "haltline", "demo", "--out", str(folder / "out")]
    # A temporary folder of its own tells afterwards whether something was left in it.
    (folder / "tmp").mkdir()
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(folder / "tmp")},
        start_new_session=True,
    )


def until_said(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    pytest.fail(f"the demo ended without saying {word!r}")


def all_gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=60)
    return not [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_it_tells_its_story_to_the_end(demo: subprocess.Popen[str], tmp_path: Path) -> None:
    said, _ = demo.communicate(timeout=GENEROUS_S)
    assert demo.returncode == 0, said
    assert "\x1b" not in said, "no colours where no terminal is"
    story = (
        r"exit 0 .*allow cart",
        r"exit 0 .*allow payment",
        r"HARM .*first wrong price",
        r"VERDICT .*pricing-733 is harmful: error_ratio [\d.]+ > [\d.]+ \(n=\d+/\d+ against \d+/\d+",
        r"exit 3 .*hold pricing .*frozen by fz-\w+",
        r"--revert-of pricing-733",
        r"exit 0 .*allow pricing .*way back",
        r"--version v3",
        r"exit 3 .*hold pricing",
        r"exit 0 .*allow cart",
        r"prices are right again",
        r"exit 0 .*allow pricing",
        r"that sample → `haltline check` refused +\d+\.\d\d s +promised: within 5 s",
        r"customers hit while it lasted: \d+ of [\d,]+",
    )
    position = 0
    for step in story:
        found = re.compile(step).search(said, position)
        assert found is not None, f"no {step!r} in the rest of\n{said}"
        position = found.end()
    assert (tmp_path / "out" / "incident.png").stat().st_size > 10_000
    assert (tmp_path / "out" / "incident.svg").exists()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_takes_everything_down_when_interrupted(
    demo: subprocess.Popen[str], tmp_path: Path, sign: signal.Signals, code: int
) -> None:
    until_said(demo, "Customers come")
    processes = psutil.Process(demo.pid).children(recursive=True)
    assert len(processes) > 10
    demo.send_signal(sign)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode == code
    assert "Traceback" not in said
    assert all_gone(processes)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_it_leaves_no_process_when_it_is_killed(demo: subprocess.Popen[str]) -> None:
    until_said(demo, "Customers come")
    processes = psutil.Process(demo.pid).children(recursive=True)
    demo.kill()
    demo.communicate(timeout=60)
    assert all_gone(processes)


def test_it_says_in_one_line_why_it_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = subprocess.run(
        [sys.executable, "-m", "haltline", "demo", "--keep", str(tmp_path / "file" / "below")],
        capture_output=True,
        text=True,
        timeout=GENEROUS_S,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("haltline demo: cannot write to ")
    assert ended.stderr.count("\n") == 1
