"""Attestations: of this very file, and served as they came."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.model import as_filename, as_sha256
from pyproxy.upload import UploadRefused, provenance
from tests.upload.building import in_one_line, why_refused

FILENAME = as_filename("foo_bar-1.0-py2.py3-none-any.whl")
SHA256 = as_sha256("0123456789abcdef" * 4)
PUBLISHER = {"kind": "tests", "claims": None}


def b64(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.b64encode(raw).decode()


def statement(**instead: object) -> dict[str, Any]:
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": FILENAME, "digest": {"sha256": SHA256}}],
        "predicateType": "https://index.example/attestations/publish/v1",
        "predicate": None,
        **instead,
    }


def attestation(said: object = None, **instead: object) -> dict[str, Any]:
    return {
        "version": 1,
        "verification_material": {"certificate": b64(b"a certificate"), "transparency_entries": [{"logIndex": "1"}]},
        "envelope": {"statement": b64(statement() if said is None else said), "signature": b64(b"a signature")},
        **instead,
    }


def subject(name: object = FILENAME, sha256: object = SHA256, **more: object) -> dict[str, Any]:
    return attestation(statement(subject=[{"name": name, "digest": {"sha256": sha256, **more}}]))


def made(field: object) -> Any:
    text = field if isinstance(field, str) else json.dumps(field)
    return json.loads(provenance(text, filename=FILENAME, sha256=SHA256, publisher=PUBLISHER))


@pytest.mark.parametrize(
    "one",
    [
        attestation(),
        attestation(extra="kept: ü \U0001f40d"),
        subject("Foo.Bar-1.0.0-py3.py2-none-any.whl"),
        subject(sha256=SHA256.upper()),
        subject(sha512="also"),
        attestation(statement(predicate={"any": [1, 2.5, {"thing": True}]})),
        attestation(
            envelope={"statement": base64.encodebytes(json.dumps(statement()).encode()).decode(), "signature": "YQ==\n"}
        ),
    ],
)
def test_provenance__sound__holds_the_attestations_as_they_came(one: dict[str, Any]) -> None:
    assert made([one, attestation()]) == {
        "version": 1,
        "attestation_bundles": [{"publisher": PUBLISHER, "attestations": [one, attestation()]}],
    }


DEEP = "[" * 200_000
MATERIAL = attestation()["verification_material"]
ENVELOPE = attestation()["envelope"]


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ("", "no JSON"),
        ("[", "no JSON"),
        ("[NaN]", "no JSON"),
        ("[" + "9" * 10_000 + "]", "no JSON"),
        (DEEP, "no JSON"),
        ('[{"version": 1, "version": 1}]', "a key twice"),
        ('["\\ud800"]', "no JSON"),
        ({}, "no list"),
        (attestation(), "no list"),
        ([], "no list of 1 to 64"),
        ([attestation()] * 65, "no list of 1 to 64"),
        ([1], "has no version"),
        ([None], "has no version"),
        ([attestation(), "x"], "has no version"),
        ([attestation(version=2)], "version is not 1"),
        ([attestation(version=True)], "version is not 1"),
        ([attestation(version="1")], "version is not 1"),
        ([{**attestation(), "verification_material": None}], "has no certificate"),
        ([attestation(verification_material={**MATERIAL, "certificate": "*"})], "certificate is not in base64"),
        ([attestation(verification_material={**MATERIAL, "certificate": ""})], "has no certificate"),
        ([attestation(verification_material={**MATERIAL, "certificate": "ü"})], "certificate is not in base64"),
        ([attestation(verification_material={**MATERIAL, "transparency_entries": []})], "no transparency_entries"),
        ([attestation(verification_material={**MATERIAL, "transparency_entries": {}})], "no transparency_entries"),
        ([attestation(verification_material={**MATERIAL, "transparency_entries": [1]})], "no transparency_entries"),
        ([attestation(verification_material={"certificate": "YQ=="})], "no transparency_entries"),
        ([attestation(envelope={})], "has no signature"),
        ([attestation(envelope={**ENVELOPE, "signature": 1})], "has no signature"),
        ([attestation(envelope={"signature": "YQ=="})], "has no statement"),
        ([attestation(envelope={**ENVELOPE, "statement": "Y"})], "statement is not in base64"),
        ([attestation(b"\xff")], "statement is not UTF-8"),
        ([attestation(b"no json")], "an attestation's statement: no JSON"),
        ([attestation(b'{"subject": [], "subject": []}')], "a key twice"),
        ([attestation(DEEP.encode())], "an attestation's statement: no JSON"),
        ([attestation([])], "has no _type"),
        ([attestation(statement(_type="https://in-toto.io/Statement/v0.1"))], "no in-toto statement of version 1"),
        ([attestation(statement(predicateType=""))], "no predicateType"),
        ([attestation(statement(predicateType=None))], "no predicateType"),
        ([attestation(statement(subject=[]))], "not about one subject"),
        ([attestation(statement(subject={}))], "not about one subject"),
        ([attestation(statement(subject=statement()["subject"] * 2))], "not about one subject"),
        ([attestation(statement(subject=[{"name": FILENAME}]))], "has no digest"),
        ([attestation(statement(subject=[{"digest": {"sha256": SHA256}}]))], "has no name"),
        ([subject("foo_bar-1.1-py2.py3-none-any.whl")], "about 'foo_bar-1.1-py2.py3-none-any.whl', not about"),
        ([subject("foo_bar-1.0.tar.gz")], "not about"),
        ([subject("foo_bar-1.0-py3-none-any.whl")], "not about"),
        ([subject("")], "not about"),
        ([subject(None)], "not about"),
        ([subject("\x1b[31m")], "not about"),
        ([subject(sha256="0" * 64)], "about other bytes"),
        ([subject(sha256=None)], "about other bytes"),
        ([attestation(statement(subject=[{"name": FILENAME, "digest": {"sha512": SHA256}}]))], "has no sha256"),
        ([attestation(), subject(sha256="0" * 64)], "about other bytes"),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_provenance__anything_else__is_refused(field: object, why: str) -> None:
    with pytest.raises(UploadRefused) as refused:
        made(field)
    assert (refused.value.status, why in refused.value.reason) == (400, True), refused.value.reason
    assert refused.value.reason.isprintable()


def test_provenance__too_long__is_413() -> None:
    with pytest.raises(UploadRefused) as refused:
        made(" " * (1 << 20) + json.dumps([attestation()]))
    assert refused.value.status == 413


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=9)
    | st.sampled_from([FILENAME, SHA256, b64(statement())]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["version", "envelope", "statement", "signature", "verification_material", "certificate"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(st.text() | JSON | st.builds(lambda said: [attestation(said)], JSON))
def test_provenance__any_field__is_made_or_refused(field: object) -> None:
    assert in_one_line(why_refused(lambda: made(field)))
