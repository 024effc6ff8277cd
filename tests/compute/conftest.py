from __future__ import annotations

from collections.abc import Iterator

import pytest

import taxidask as td
from taxidask.settings import Settings


@pytest.fixture(scope="module")
def cluster() -> Iterator[td.compute.connection.LocalClient]:
    """Two workers of one thread each, for the tests of one module."""
    with td.connect(Settings(workers=2, worker_memory="1GiB")) as client:
        yield client
