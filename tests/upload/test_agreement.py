"""The form and its file: they say the same, or nothing is taken."""

from __future__ import annotations

import hashlib

import pytest

from pyproxy.model import as_sha256
from pyproxy.upload import Digests, Form, UploadRefused, action_of, check_form
from tests.upload.building import SDIST, WHEEL, examined, sdist, wheel

CONTENT = wheel()
EXAMINED = examined(CONTENT)
DIGESTS = Digests(
    sha256=as_sha256(hashlib.sha256(CONTENT).hexdigest()),
    md5=hashlib.md5(CONTENT, usedforsecurity=False).hexdigest(),
    blake2_256=hashlib.blake2b(CONTENT, digest_size=32).hexdigest(),
)
FIELDS = {
    ":action": "file_upload",
    "protocol_version": "1",
    "metadata_version": "2.1",
    "name": "Foo.Bar",
    "version": "1.0",
    "filetype": "bdist_wheel",
    "pyversion": "py3",
    "sha256_digest": DIGESTS.sha256,
    "blake2_256_digest": DIGESTS.blake2_256,
    "md5_digest": DIGESTS.md5,
}


def form(*, filename: str = WHEEL, fields: dict[str, str | tuple[str, ...] | None] | None = None) -> Form:
    """What a client sends, but for these fields: None leaves one out."""
    told: dict[str, str | tuple[str, ...] | None] = {**FIELDS, **(fields or {})}
    return Form(
        fields={
            name: value if isinstance(value, tuple) else (value,) for name, value in told.items() if value is not None
        },
        filename=filename,
        size=len(CONTENT),
        digests=DIGESTS,
    )


def check(given: Form) -> None:
    check_form(given, EXAMINED, DIGESTS)


NO_DIGESTS = dict.fromkeys(["sha256_digest", "blake2_256_digest", "md5_digest"])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": "foo_bar"},
        {"name": " FOO-bar "},
        {"version": "1.0.0"},
        {"version": "v1"},
        {"filetype": None},
        {"pyversion": None},
        {"protocol_version": None},
        {"metadata_version": None},
        {"metadata_version": "2.4"},
        {"requires_python": ">=3.9,<4"},
        {"classifiers": ("A", "B")},
        {"comment": ("", "")},
        {**NO_DIGESTS, "md5_digest": DIGESTS.md5},
        {**NO_DIGESTS, "sha256_digest": DIGESTS.sha256},
        {**NO_DIGESTS, "blake2_256_digest": DIGESTS.blake2_256},
        {"sha256_digest": DIGESTS.sha256.upper()},
        {"md5_digest": ""},
    ],
)
def test_form__that_agrees__is_taken(fields: dict[str, str | tuple[str, ...] | None]) -> None:
    check(form(fields=fields))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({":action": None}, ":action is '', not file_upload"),
        ({":action": "doc_upload"}, ":action is 'doc_upload'"),
        ({":action": "submit"}, ":action is not file_upload"),
        ({":action": ("file_upload", "file_upload")}, "':action' 2 times"),
        ({"protocol_version": "2"}, "protocol_version is not 1"),
        ({"metadata_version": "one"}, "metadata_version is unknown: 'one'"),
        ({"metadata_version": "3.0"}, "metadata_version is unknown"),
        ({"name": None}, "has no name"),
        ({"name": " "}, "has no name"),
        ({"version": None}, "no version"),
        ({"name": "foo"}, "name is 'foo', the file is foo-bar"),
        ({"name": ("Foo.Bar", "foo")}, "the field 'name' 2 times"),
        ({"name": "foo bar\n"}, "name is 'foo bar'"),
        ({"version": "1.1"}, "version is '1.1', the file's is '1.0'"),
        ({"version": "1.0+cpu"}, "version is '1.0+cpu'"),
        ({"version": "one"}, "version is 'one'"),
        ({"version": "1" * 100_000}, "version is '1111"),
        ({"filetype": "sdist"}, "filetype is 'sdist', the file is a bdist_wheel"),
        (NO_DIGESTS, "has no digest of the file"),
        (dict.fromkeys(NO_DIGESTS, ""), "has no digest of the file"),
        ({"sha256_digest": "0" * 64}, "not the form's sha256_digest: " + DIGESTS.sha256),
        ({"sha256_digest": DIGESTS.sha256[:-1]}, "not the form's sha256_digest"),
        ({"sha256_digest": "ü" * 64}, "not the form's sha256_digest"),
        ({"sha256_digest": "\ud800"}, "not the form's sha256_digest"),
        ({"blake2_256_digest": DIGESTS.sha256}, "not the form's blake2_256_digest"),
        ({"md5_digest": "0" * 32}, "not the form's md5_digest"),
        ({"md5_digest": (DIGESTS.md5, DIGESTS.md5)}, "the field 'md5_digest' 2 times"),
    ],
)
def test_form__that_says_anything_else__is_refused(fields: dict[str, str | tuple[str, ...] | None], why: str) -> None:
    with pytest.raises(UploadRefused) as refused:
        check(form(fields=fields))
    assert (refused.value.status, why in refused.value.reason) == (400, True), refused.value.reason
    assert refused.value.reason.isprintable()


@pytest.mark.parametrize("filename", ["", SDIST, "Foo_Bar-1.0-py3-none-any.whl"])
def test_form__of_another_file_name__is_refused(filename: str) -> None:
    with pytest.raises(UploadRefused, match=r"the form has no file|the form's file is"):
        check(form(filename=filename))


def test_form__of_an_sdist__is_taken() -> None:
    found = examined(sdist(), SDIST)
    check_form(form(filename=SDIST, fields={"filetype": "sdist", "pyversion": "source"}), found, DIGESTS)


@pytest.mark.parametrize("action", ["submit", "file_upload"])
def test_action__known__is_told(action: str) -> None:
    assert action_of(form(fields={":action": action})) == action
