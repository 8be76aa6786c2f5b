"""multipart/form-data: the same parts however the bytes come, and no form that is cut, nested or endless."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.upload.multipart import End, Multipart, Part
from pyproxy.upload.parameters import parameters_of
from pyproxy.upload.refusal import UploadRefused
from tests.upload.building import in_one_line, why_refused


def parts(*pieces: bytes, boundary: str = "B", whole: bool = True) -> list[tuple[Part, bytes]]:
    """All parts and what they hold."""
    parser = Multipart(boundary)
    found: list[tuple[Part, bytes]] = []
    open_part: Part | None = None
    body = b""
    for piece in pieces:
        for event in parser.feed(piece):
            if isinstance(event, Part):
                assert open_part is None
                open_part, body = event, b""
            elif event is End.PART:
                assert open_part is not None
                found.append((open_part, body))
                open_part = None
            else:
                body += event
    assert parser.finished is whole
    return found


def form(*given_parts: tuple[str, bytes]) -> bytes:
    """Heads without their line breaks, and bodies."""
    return (
        b"".join(b"--B\r\n" + head.encode() + b"\r\n\r\n" + body + b"\r\n" for head, body in given_parts) + b"--B--\r\n"
    )


def named(name: str, more: str = "") -> str:
    return f'Content-Disposition: form-data; name="{name}"{more}'


SOUND = form((named("a"), b"1"), (named("content", '; filename="x.whl"'), b"\0\r\n--\r\n-B\r\n\xff"), (named("b"), b""))
EXPECTED = [
    (Part("a", None, None), b"1"),
    (Part("content", "x.whl", None), b"\0\r\n--\r\n-B\r\n\xff"),
    (Part("b", None, None), b""),
]


def test_form__whole__has_its_parts() -> None:
    assert parts(SOUND) == EXPECTED


def test_form__byte_by_byte__has_the_same() -> None:
    assert parts(*(bytes([byte]) for byte in SOUND)) == EXPECTED


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    bounds = [0, *sorted(set(places)), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


@given(
    st.lists(
        st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--B", b"\r\n--", b"x", b"\r\n--B"[:-1]])).map(b"".join),
        max_size=4,
    ),
    st.lists(st.integers(0, 200)),
)
def test_form__in_any_pieces__has_the_same(bodies: list[bytes], places: list[int]) -> None:
    if any(b"\r\n--B" in b"\r\n" + body for body in bodies):
        return
    data = form(*((named(f"f{number}"), body) for number, body in enumerate(bodies)))
    if not bodies:
        data = b"--B--\r\n"
    expected = [(Part(f"f{number}", None, None), body) for number, body in enumerate(bodies)]
    assert parts(*cut(data, (place for place in places if place < len(data)))) == expected


@pytest.mark.parametrize(
    "data",
    [
        SOUND.removesuffix(b"\r\n"),
        SOUND + b"\r\n \r\n",
        b"\r\n" + SOUND,
        b"a preamble\r\n" + SOUND,
        SOUND.replace(b"--B\r\n", b"--B \t\r\n"),
        SOUND.replace(b"Content-Disposition:", b"content-disposition:"),
        SOUND.replace(b"form-data; name", b"form-data;name"),
        SOUND.replace(b'name="a"', b"name=a"),
        SOUND.replace(b'name="a"', b"name*=utf-8''%61"),
        SOUND.replace(b'name="a"', b"name=\"a\"; name*=utf-8''a"),
        SOUND.replace(b'"a"\r\n', b'"a";\r\nContent-Type: text/plain\r\nContent-Length: 99\r\nX-Own: \xc3\xbc\r\n'),
        SOUND.replace(b'"a"\r\n', b'"a"\r\nContent-Transfer-Encoding: binary\r\n'),
    ],
)
def test_form__as_clients_spell_it__has_the_same(data: bytes) -> None:
    assert parts(data) == EXPECTED


def test_form__charset_of_a_part__is_told() -> None:
    head = named("a") + '\r\nContent-Type: text/plain; charset="ISO-8859-1"'
    assert parts(form((head, b"\xfc"))) == [(Part("a", None, "ISO-8859-1"), b"\xfc")]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"x" * 3000, "does not begin with its boundary"),
        (b"x" * 3000 + b"\r\n" + SOUND, "does not begin with its boundary"),
        (SOUND + b"x", "something behind its end"),
        (SOUND + SOUND, "something behind its end"),
        (b"--Bx\r\n", "boundary is part of its content"),
        (SOUND.replace(b"\r\n1\r\n--B\r\n", b"\r\n1\r\n--Bx\r\n"), "boundary is part of its content"),
        (SOUND.replace(b"\r\n1\r\n--B\r\n", b"\r\n1\r\n--B-x\r\n"), "boundary is part of its content"),
        (b"--B" + b" " * 9000, "boundary is part of its content"),
        (form(("", b"x")), "a part of the form has no name"),
        (b"--B\r\n\r\nx\r\n--B--", "a part of the form has no name"),
        (form(("Content-Type: text/plain", b"x")), "a part of the form has no name"),
        (form(("Content-Disposition: form-data", b"x")), "a part of the form has no name"),
        (form(('Content-Disposition: attachment; name="a"', b"x")), "a part of the form has no name"),
        (form(('Content-Disposition: form-data; name="a', b"x")), "header of the form is malformed"),
        (form(('Content-Disposition: form-data; name="a"b', b"x")), "header of the form is malformed"),
        (form(('Content-Disposition: form-data; name="a"; name="b"', b"x")), "a parameter twice"),
        (form((named("a", "; filename=\"x\"; filename*=utf-8''y"), b"x")), "a parameter twice"),
        (form((named("a", "; filename*=latin-1''y"), b"x")), "character set that is not taken"),
        (form((named("a", "; filename*=y"), b"x")), "character set that is not taken"),
        (form((named("a", "; filename*=utf-8''%ff"), b"x")), "not UTF-8"),
        (form((named("a") + "\r\n" + named("b"), b"x")), "malformed, or too many"),
        (form((named("a") + "\nX: y", b"x")), "malformed, or too many"),
        (form((named("a") + "\r\n folded", b"x")), "malformed, or too many"),
        (form((named("a") + "\r\nX : y", b"x")), "malformed, or too many"),
        (form((named("a") + "\r\nX: \0", b"x")), "malformed, or too many"),
        (form((named("a") + "".join(f"\r\nX-{number}: y" for number in range(200)), b"x")), "malformed, or too many"),
        (form((named("a") + "\r\nX: " + "y" * 9000, b"x")), "headers of a part of the form are too long"),
        (form((named("a", "; x=" + "y" * 5000), b"x")), "header of the form is malformed"),
        (b"--B\r\nX: \xff\r\n\r\nx\r\n--B--", "not UTF-8"),
        (form((named("a") + "\r\nContent-Type: multipart/mixed; boundary=C", b"--C--")), "another form in it"),
        (form((named("a") + "\r\nContent-Type: multipart/form-data", b"")), "another form in it"),
        (form((named("a") + "\r\nContent-Transfer-Encoding: base64", b"YQ==")), "field 'a' is encoded"),
        (form((named("a") + "\r\nContent-Encoding: gzip", b"")), "field 'a' is encoded"),
    ],
)
def test_form__malformed__is_refused(data: bytes, why: str) -> None:
    for pieces in ([data], cut(data, range(0, len(data), 7))):
        with pytest.raises(UploadRefused) as refused:
            parts(*pieces)
        assert (refused.value.status, why in refused.value.reason) == (400, True), refused.value.reason
        assert refused.value.reason.isprintable()


def test_form__cut_anywhere__is_not_finished() -> None:
    end = SOUND.rindex(b"--")
    for place in range(end + 2):
        parts(SOUND[:place], whole=False)


@pytest.mark.parametrize("boundary", ["", "x" * 71, "a b ", "a\r\n", "ü", 'a"b', "a\0"])
def test_form__boundary_that_is_none__is_refused(boundary: str) -> None:
    with pytest.raises(UploadRefused, match="boundary is missing or malformed"):
        Multipart(boundary)


@pytest.mark.parametrize("boundary", ["x" * 70, "----WebKitFormBoundary7MA4YWxkTrZu0gW", "=_'()+,-./:=?", "a b"])
def test_form__boundary_that_is_one__is_taken(boundary: str) -> None:
    assert parts(SOUND.replace(b"--B", b"--" + boundary.encode()), boundary=boundary) == EXPECTED


@given(
    st.binary()
    | st.lists(st.sampled_from([b"--B", b"\r\n", b"--", named("a").encode(), b"x", b"\r\n\r\n"])).map(b"".join)
)
def test_form__any_bytes__are_read_or_refused(data: bytes) -> None:
    assert in_one_line(why_refused(lambda: list(Multipart("B").feed(data))))


def test_form__that_nearly_ends_all_the_time__is_read_at_speed() -> None:
    """No byte is looked at again and again: neither a boundary's beginnings nor small pieces make it slow."""
    body = b"\r\n--" + b"B" * 69
    data = b"--" + b"B" * 70 + b"\r\n" + named("a").encode() + b"\r\n\r\n" + body * 30_000
    begun = time.monotonic()
    parts(*cut(data, range(0, len(data), 997)), boundary="B" * 70, whole=False)
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("value", "main", "parameters"),
    [
        ("", "", {}),
        ("form-data", "form-data", {}),
        ("Multipart/Form-Data; Boundary=aB", "multipart/form-data", {"boundary": "aB"}),
        ('multipart/form-data; boundary="a;b=c \\" d"', "multipart/form-data", {"boundary": 'a;b=c " d'}),
        ("a ; b = c ; ; d=e;", "a", {"b": "c", "d": "e"}),
        ("a; b=", "a", {"b": ""}),
        ("a; filename*=UTF-8'en'f%C3%BC%20", "a", {"filename": "fü "}),
    ],
)
def test_parameters__of_a_header__are_read(value: str, main: str, parameters: dict[str, str]) -> None:
    assert parameters_of(value) == (main, parameters)


@given(st.text(max_size=60) | st.text(alphabet="a;=\"\\ *'%u", max_size=40))
def test_parameters__of_any_header__are_read_or_refused(value: str) -> None:
    assert in_one_line(why_refused(lambda: parameters_of(value)))
