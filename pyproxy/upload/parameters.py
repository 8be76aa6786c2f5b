"""Header values with parameters, as multipart forms have them: `form-data; name="content"; filename="x.whl"`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from pyproxy.upload.refusal import UploadRefused

# RFC 9110 §5.6.6. A value that holds a quote has it as %22 from browsers, as \" from others.
_MAIN = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z/-]+)\s*")
_PARAMETER = re.compile(
    r""";\s*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))\s*)?""", re.DOTALL
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_LENGTH = 4096


def parameters_of(value: str) -> tuple[str, Mapping[str, str]]:
    """The value before its parameters, and those, names in lower case.

    `name*` (RFC 8187) is decoded, and stands as `name`. Raises UploadRefused where any is there twice, or none can be
    told from another.
    """
    main = _MAIN.match(value)
    if not value:
        return "", {}
    if main is None or len(value) > _LENGTH:
        raise UploadRefused("a header of the form is malformed")
    found: dict[str, str] = {}
    at = main.end()
    while at < len(value):
        parameter = _PARAMETER.match(value, at)
        if parameter is None:
            raise UploadRefused("a header of the form is malformed")
        at = parameter.end()
        if parameter[1] is None:
            continue  # a semicolon too many
        name, told = parameter[1].lower(), parameter[3]
        if parameter[2] is not None:
            told = _ESCAPED.sub(r"\1", parameter[2])
        if name.endswith("*"):
            name, told = name[:-1], _extended(told)
        if found.setdefault(name, told) != told:
            raise UploadRefused("a header of the form has a parameter twice")
    return main[1].lower(), found


def _extended(told: str) -> str:
    charset, _, rest = told.partition("'")
    _, quote, encoded = rest.partition("'")
    if charset.lower() != "utf-8" or not quote:
        raise UploadRefused("a header of the form is in a character set that is not taken")
    try:
        return unquote_to_bytes(encoded).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise UploadRefused("a header of the form is not UTF-8") from exc
