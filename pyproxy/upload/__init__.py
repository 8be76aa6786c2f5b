"""Uploads judged: the form, the file in it, its attestations. Nothing here knows HTTP, or where a file will be kept."""

from __future__ import annotations

from pyproxy.upload.agreement import SUBMIT, UPLOAD, action_of, check_digests, check_form, check_protocol
from pyproxy.upload.attestations import provenance
from pyproxy.upload.bounds import Bounds
from pyproxy.upload.core_metadata import CoreMetadata, core_metadata
from pyproxy.upload.examine import Examined, examine
from pyproxy.upload.form import Digests, Form, FormBounds
from pyproxy.upload.refusal import UploadRefused

__all__ = [
    "SUBMIT",
    "UPLOAD",
    "Bounds",
    "CoreMetadata",
    "Digests",
    "Examined",
    "Form",
    "FormBounds",
    "UploadRefused",
    "action_of",
    "check_digests",
    "check_form",
    "check_protocol",
    "core_metadata",
    "examine",
    "provenance",
]
