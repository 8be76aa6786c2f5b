"""The tests of the store make hundreds of small stores: in memory, where an fsync costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.stores import in_memory


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with in_memory() as path:
        yield path
