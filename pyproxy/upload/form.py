"""An upload's form as values: its fields, its file's name, size and digests, and how much of all that is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyproxy.model import Sha256, printable
from pyproxy.upload.refusal import UploadRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class FormBounds:
    """Sizes in bytes. A release with many extras sends a part for each of its requirements: some have a thousand."""

    parts: int = 5000
    field: int = 1 << 20
    description: int = 8 << 20
    fields: int = 16 << 20
    """All fields together, their headers included."""
    signature: int = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Digests:
    """Of the file, in lower-case hexadecimal; `blake2_256` is BLAKE2b with 32 bytes."""

    sha256: Sha256
    md5: str
    blake2_256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form that was read whole. `filename` is the client's word, empty where the form has no file."""

    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    filename: str = ""
    size: int = 0
    digests: Digests
    gpg_signature: bytes | None = None

    def one(self, name: str) -> str | None:
        """The value of a field that may be there once, without blanks around it; None where it is not, or empty.

        Raises UploadRefused where it is there several times: which one counts would be anybody's guess.
        """
        values = self.fields.get(name, ())
        if len(values) > 1:
            raise UploadRefused(f"the form has the field {printable(name)} {len(values)} times")
        return (values[0].strip() or None) if values else None
