"""Apache Kafka's jars: named and hashed in `kafka.lock`, fetched once into the user's cache, verified at every use.

The lock has one line a jar, `group:artifact:version sha256`. Where the jars come from is not its business: they are
asked of the Maven repositories that jgo knows (its own default, or those in the user's jgo configuration), and a
jar that is not byte for byte the locked one is never used. With the cache complete nothing leaves the machine and
jgo is not even imported.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from stream.kafka_errors import JarsUnavailable

__all__ = ["KAFKA_VERSION", "LOCK", "Jar", "cache_dir", "classpath", "fetch", "read_lock", "write_lock"]

KAFKA_VERSION = "4.3.0"
LOCK = Path(__file__).with_name("kafka.lock")

# The broker, and the binding through which it writes its log; without it Kafka is mute when it fails.
_ROOTS = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4")
_HEADER = f"# Apache Kafka {KAFKA_VERSION} and what it needs: group:artifact:version sha256. Made by `--lock`.\n"
_ATTEMPTS = 3
_AT_ONCE = 6

Log = Callable[[str], None]


class Jar(msgspec.Struct, frozen=True):
    """One jar by its Maven coordinates and the SHA-256 (hex) of its bytes."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinates(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def path(self) -> Path:
        """Where a Maven repository, and so the cache, has it."""
        return Path(*self.group.split("."), self.artifact, self.version, f"{self.artifact}-{self.version}.jar")


def cache_dir(env: Mapping[str, str]) -> Path:
    """The user's cache folder for jars: `$XDG_CACHE_HOME/haltline/jars`, by default under `~/.cache`.

    >>> cache_dir({"XDG_CACHE_HOME": "/c"}).as_posix()
    '/c/haltline/jars'
    """
    # The XDG rule: a relative path there is to be ignored.
    given = Path(env.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "haltline" / "jars"


def read_lock(path: Path = LOCK) -> tuple[Jar, ...]:
    """The jars of the lock, in its order."""
    jars = []
    for line in path.read_text("ascii").splitlines():
        if line and not line.startswith("#"):
            coordinates, sha256 = line.split()
            group, artifact, version = coordinates.split(":")
            jars.append(Jar(group, artifact, version, sha256))
    return tuple(jars)


def classpath(cache: Path, jars: tuple[Jar, ...]) -> str:
    """The class path of the cached jars."""
    return os.pathsep.join(str(cache / jar.path) for jar in jars)


def fetch(cache: Path, jars: tuple[Jar, ...], log: Log) -> int:
    """Make the cache hold exactly the locked jars; give how many had to be fetched.

    Raises `JarsUnavailable` naming the first jar that could not be had as locked.
    """
    missing = [jar for jar in jars if not _intact(cache / jar.path, jar.sha256)]
    if not missing:
        return 0
    log(f"fetching Apache Kafka {KAFKA_VERSION} into {cache}: {len(missing)} of {len(jars)} jars")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Fetched beside its place and moved in whole: another process never sees half a jar.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as fresh:
            context = _maven(Path(fresh))
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for _ in pool.map(lambda jar: _fetch_one(context, jar, Path(fresh), cache), missing):
                    pass
    except OSError as error:
        raise JarsUnavailable(f"cannot write kafka's jars to {cache}: {error.strerror or error}") from error
    return len(missing)


def write_lock(path: Path = LOCK) -> int:
    """Resolve Kafka's dependencies anew and write the lock; give the number of jars. For maintainers."""
    with tempfile.TemporaryDirectory() as folder:
        context = _maven(Path(folder))
        jars: dict[tuple[str, str], Jar] = {}
        # One root at a time, the broker first: asked together, each would impose its own managed versions on the other.
        for root in _ROOTS:
            inputs, transitive = context.resolver.resolve([context.create_dependency(root)])
            for artifact in (dependency.artifact for dependency in (*inputs, *transitive)):
                if (artifact.groupId, artifact.artifactId) not in jars:
                    sha256 = _sha256(artifact.resolve())
                    jar = Jar(artifact.groupId, artifact.artifactId, artifact.version, sha256)
                    jars[jar.group, jar.artifact] = jar
    lines = sorted(f"{jar.coordinates} {jar.sha256}\n" for jar in jars.values())
    path.write_text(_HEADER + "".join(lines), "ascii")
    return len(lines)


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _intact(path: Path, sha256: str) -> bool:
    try:
        return _sha256(path) == sha256
    except FileNotFoundError:
        return False


def _maven(folder: Path) -> Any:
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext, PythonResolver

    # A company's mirror in the user's jgo configuration is asked first.
    remotes = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
    return MavenContext(resolver=PythonResolver(), repo_cache=folder, remote_repos=remotes, timeout=20)


def _fetch_one(context: Any, jar: Jar, fresh: Path, cache: Path) -> None:
    import requests

    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    for attempt in range(_ATTEMPTS):
        (fresh / jar.path).unlink(missing_ok=True)  # what an attempt that broke off left
        try:
            got = artifact.resolve()
            break
        except requests.RequestException as error:
            if attempt == _ATTEMPTS - 1:
                raise JarsUnavailable(
                    f"cannot fetch {jar.coordinates}: no answer from the maven repository ({type(error).__name__}); "
                    "the first start needs the network once, or set KAFKA_HOME to a kafka that is installed"
                ) from error
            time.sleep(attempt + 1)
        except RuntimeError as error:
            raise JarsUnavailable(f"cannot fetch {jar.coordinates}: no maven repository has it") from error
    found = _sha256(got)
    if found != jar.sha256:
        raise JarsUnavailable(f"refused {jar.coordinates}: sha256 is {found}, {LOCK.name} says {jar.sha256}")
    place = cache / jar.path
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(got, place)
