"""Public data sets whose series are cut into streams; they are not shipped, and may not be on this machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench import DataMissingError
from bench.data import Service, microsoft, nab, nezha, petshop

SETS: dict[str, Callable[[], list[Service]]] = {
    "nab": nab.load,
    "microsoft": microsoft.load,
    "petshop": petshop.issue_free,
    "nezha": lambda: nezha.load("onlineboutique")[0],
}


def services_of(name: str, most: int) -> list[Service]:
    """Some services of a set, spread over it; skips the test where the data are absent, which nobody can install."""
    try:
        services = SETS[name]()
    except DataMissingError as error:
        pytest.skip(str(error))
    return services[:: max(1, len(services) // most)][:most]
