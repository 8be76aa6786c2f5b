"""Whether an uploaded file is the wheel or sdist that its name tells, and what it says of itself."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from pyproxy.model import Filename, ProjectName
from pyproxy.upload.bounds import Bounds, Budget
from pyproxy.upload.core_metadata import CoreMetadata, core_metadata
from pyproxy.upload.named import Named, UploadType, named
from pyproxy.upload.sdists import pkg_info
from pyproxy.upload.wheels import Wheel


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A file that may be taken. `name` and `version` are as the metadata spells them.

    `metadata` is METADATA of a wheel or PKG-INFO of an sdist, byte for byte; `core` is what it says.
    """

    filename: Filename
    package_type: UploadType
    project: ProjectName
    name: str
    version: str
    requires_python: str | None
    metadata: bytes
    core: CoreMetadata


def examine(
    archive: BinaryIO, filename: str, *, bounds: Bounds | None = None, clock: Callable[[], float] = time.monotonic
) -> Examined:
    """What the file is. Blocks: reads and inflates all of it once, writes nothing anywhere.

    Raises UploadRefused: 413 where the archive passes a bound on its members, its inflated size or the time for them,
    else 400. An OSError of the file passes through.
    """
    said = named(filename)
    size = archive.seek(0, io.SEEK_END)
    budget = Budget(bounds or Bounds(), size, clock)
    if said.kind == "sdist":
        metadata = pkg_info(archive, said, size, budget)
        return _examined(said, metadata, "PKG-INFO")
    wheel = Wheel(archive, said, size, budget)
    metadata = wheel.metadata()
    found = _examined(said, metadata, "METADATA")
    wheel.verify()  # last, as it is all the work
    return found


def _examined(said: Named, metadata: bytes, where: str) -> Examined:
    core = core_metadata(metadata, where)
    core.agree(said, where)
    return Examined(
        filename=said.filename,
        package_type=said.kind,
        project=core.project,
        name=core.name,
        version=core.version,
        requires_python=core.requires_python,
        metadata=metadata,
        core=core,
    )
