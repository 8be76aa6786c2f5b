"""Attestations of an uploaded file (PEP 740): sound, about this file, and put together as its provenance.

https://packaging.python.org/specifications/index-hosted-attestations/. Signatures are not checked: that needs a root of
trust that whoever installs the file has to choose. What is checked is that they speak of this very file.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from pyproxy.model import Filename, Sha256, printable
from pyproxy.upload.named import identity
from pyproxy.upload.refusal import UploadRefused

_LENGTH: Final = 1 << 20
_MOST: Final = 64
_STATEMENT: Final = "https://in-toto.io/Statement/v1"


def provenance(field: str, *, filename: Filename, sha256: Sha256, publisher: Mapping[str, object]) -> bytes:
    """The provenance object as JSON: one bundle of the attestations in the form's `attestations` field.

    `publisher` says who uploaded them; PEP 740 wants a `kind` in it. Raises UploadRefused.
    """
    if len(field.encode("utf-8", "surrogatepass")) > _LENGTH:
        raise UploadRefused(f"the attestations are longer than {_LENGTH >> 10} KiB", 413)
    attestations = _json(field, "the attestations")
    if not isinstance(attestations, list) or not 1 <= len(attestations) <= _MOST:
        raise UploadRefused(f"the attestations are no list of 1 to {_MOST} objects")
    for attestation in attestations:
        _check(attestation, filename, sha256)
    bundle = {"publisher": dict(publisher), "attestations": attestations}
    return json.dumps({"version": 1, "attestation_bundles": [bundle]}, separators=(",", ":")).encode("ascii")


def _check(attestation: object, filename: Filename, sha256: Sha256) -> None:
    version = _of(attestation, "version")
    if version != 1 or isinstance(version, bool):
        raise UploadRefused("an attestation's version is not 1")
    material = _of(attestation, "verification_material")
    _decoded(_of(material, "certificate"), "certificate")
    entries = _of(material, "transparency_entries")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UploadRefused("an attestation has no transparency_entries")
    envelope = _of(attestation, "envelope")
    _decoded(_of(envelope, "signature"), "signature")
    _check_statement(_decoded(_of(envelope, "statement"), "statement"), filename, sha256)


def _check_statement(raw: bytes, filename: Filename, sha256: Sha256) -> None:
    """The statement is about one subject, which is this file."""
    try:
        statement = _json(raw.decode("utf-8"), "an attestation's statement")
    except UnicodeDecodeError as exc:
        raise UploadRefused("an attestation's statement is not UTF-8") from exc
    if _of(statement, "_type") != _STATEMENT:
        raise UploadRefused("an attestation's statement is no in-toto statement of version 1")
    predicate_type, subjects = _of(statement, "predicateType"), _of(statement, "subject")
    if not isinstance(predicate_type, str) or not predicate_type:
        raise UploadRefused("an attestation's statement has no predicateType")
    if not isinstance(subjects, list) or len(subjects) != 1:
        raise UploadRefused("an attestation's statement is not about one subject")
    name, digest = _of(subjects[0], "name"), _of(_of(subjects[0], "digest"), "sha256")
    if not isinstance(name, str) or not _same_file(name, filename):
        raise UploadRefused(f"an attestation is about {printable(str(name))}, not about {printable(filename)}")
    if not isinstance(digest, str) or digest.lower() != sha256:
        raise UploadRefused("an attestation is about other bytes than the file's")


def _same_file(name: str, filename: Filename) -> bool:
    """Names are compared by what they say, as the public index does: a signer may have spelled them otherwise."""
    said = identity(name)
    return name == filename or (said is not None and said == identity(filename))


def _of(thing: object, key: str) -> object:
    if not isinstance(thing, dict) or key not in thing:
        raise UploadRefused(f"an attestation has no {key}")
    return thing[key]


def _decoded(value: object, what: str) -> bytes:
    """Base64, possibly in lines: the reference implementation wrote it so."""
    if not isinstance(value, str) or not value:
        raise UploadRefused(f"an attestation has no {what}")
    try:
        return base64.b64decode(value.replace("\n", ""), validate=True)
    except ValueError as exc:
        raise UploadRefused(f"an attestation's {what} is not in base64") from exc


def _json(text: str, what: str) -> Any:  # Any: JSON, which is then looked at bit by bit
    try:
        found = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
        # What cannot be written again cannot be served: a lone surrogate.
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as exc:
        raise UploadRefused(f"{what}: no JSON, or with a key twice") from exc
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:  # Any: as above
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")  # readers would differ in which one they take
    return found


def _no_number(text: str) -> float:
    raise ValueError(text)
