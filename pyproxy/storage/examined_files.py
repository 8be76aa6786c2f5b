"""A file that was examined, as a repository takes it in."""

from __future__ import annotations

from pyproxy.model import Hashes
from pyproxy.storage.intake import NewFile
from pyproxy.storage.local_rows import LocalFile
from pyproxy.storage.temps import Temp
from pyproxy.upload.examine import Examined
from pyproxy.upload.form import Digests


def examined_file(temp: Temp, examined: Examined, digests: Digests, *, attestations: bytes | None = None) -> NewFile:
    """The file whose bytes are in the temp, with what they say of themselves."""
    file = LocalFile(
        filename=examined.filename,
        project=examined.project,
        version=examined.version,
        digest=digests.sha256,
        size=temp.size,
        package_type=examined.package_type,
        hashes=hashes_of(digests),
        requires_python=examined.requires_python,
        name=examined.name,
    )
    metadata = examined.metadata if examined.package_type == "bdist_wheel" else None
    return NewFile(temp, file, metadata=metadata, attestations=attestations)


def hashes_of(digests: Digests) -> Hashes:
    """By the names that the JSON API has for them."""
    return {"sha256": digests.sha256, "md5": digests.md5, "blake2b_256": digests.blake2_256}
