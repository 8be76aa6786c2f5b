"""Whether an upload's form says of its file what the file says of itself: the legacy upload API's fields."""

from __future__ import annotations

import hmac
import re
from typing import Final

from pyproxy.model import normalised, printable
from pyproxy.upload.examine import Examined
from pyproxy.upload.form import Digests, Form
from pyproxy.upload.named import as_version
from pyproxy.upload.refusal import UploadRefused

UPLOAD: Final = "file_upload"
"""The `:action` that brings a file."""

SUBMIT: Final = "submit"
"""The `:action` of old clients that register a project or a release first, without a file. There is nothing to do."""

_METADATA_VERSION = re.compile(r"[12]\.[0-9]\Z", re.ASCII)


def action_of(form: Form) -> str:
    """`UPLOAD` or `SUBMIT`. Raises UploadRefused for anything else."""
    action = form.one(":action")
    if action not in {UPLOAD, SUBMIT}:
        raise UploadRefused(f"the form's :action is {printable(action or '')}, not {UPLOAD}")
    return action


def check_protocol(form: Form) -> None:
    """Refuses a form that is no upload of one file as this protocol has it. Needs no look at the file."""
    if action_of(form) != UPLOAD:
        raise UploadRefused(f"the form's :action is not {UPLOAD}")
    if form.one("protocol_version") not in {None, "1"}:
        raise UploadRefused("the form's protocol_version is not 1")
    version = form.one("metadata_version")
    # The client's own: poetry and flit send theirs, whatever the file was built with.
    if version is not None and not _METADATA_VERSION.match(version):
        raise UploadRefused(f"the form's metadata_version is unknown: {printable(version)}")
    if not form.filename:
        raise UploadRefused("the form has no file in a part named content")


def check_digests(form: Form, digests: Digests) -> None:
    """Refuses a form whose digests are not those of what came, and one without any: old clients send MD5 alone."""
    told = [
        (name, value, found)
        for name, found in (
            ("sha256_digest", digests.sha256),
            ("blake2_256_digest", digests.blake2_256),
            ("md5_digest", digests.md5),
        )
        if (value := form.one(name)) is not None
    ]
    for name, value, found in told:
        if not hmac.compare_digest(value.lower().encode("utf-8", "surrogatepass"), found.encode()):
            raise UploadRefused(f"the file's digest is not the form's {name}: {found}")
    if not told:
        raise UploadRefused("the form has no digest of the file: sha256_digest, blake2_256_digest or md5_digest")


def check_form(form: Form, examined: Examined, digests: Digests) -> None:
    """Refuses a form that says anything else than its file does: name, version, kind, file name, digests.

    The rest is not compared: what is served is what the file says (clients send Requires-Python in spellings of their
    own). Raises UploadRefused.
    """
    check_protocol(form)
    check_digests(form, digests)
    if form.filename != examined.filename:
        raise UploadRefused(f"the form's file is {printable(form.filename)}, not {printable(examined.filename)}")
    name, version, kind = form.one("name"), form.one("version"), form.one("filetype")
    if name is None or version is None:
        raise UploadRefused("the form has no name, or no version")
    if normalised(name) != examined.project:
        raise UploadRefused(f"the form's name is {printable(name)}, the file is {examined.project}")
    told = as_version(version)
    if told is None or told != examined.core.parsed_version:
        raise UploadRefused(f"the form's version is {printable(version)}, the file's is {printable(examined.version)}")
    if kind not in {None, examined.package_type}:
        raise UploadRefused(f"the form's filetype is {printable(kind)}, the file is a {examined.package_type}")
