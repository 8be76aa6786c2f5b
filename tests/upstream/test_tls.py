from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyproxy.errors import RemoteFailed
from pyproxy.model import as_project
from pyproxy.upstream import PageFound, RemoteSettings, Validators
from pyproxy.upstream.tls import contexts
from tests.fakes.certificates import Certificates
from tests.fakes.faults import Redirect
from tests.fakes.raw_upstream import RawUpstream
from tests.upstream.conftest import Counted, Remotes

A = as_project("a")
PATH = "/simple/a/"
PAGE = b"<html></html>"
# Since TLS 1.3 a server that wants a certificate says so after the handshake, or just closes the connection.
REFUSED = r"TLS failed: .*certificate required|connection closed|connection reset"
NONE = Validators()
Soon = Callable[[], float]


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates.below(tmp_path)


async def test_own_authority__is_trusted(certificates: Certificates, remotes: Remotes, soon: Soon) -> None:
    async with RawUpstream(tls=certificates.serving()) as up:
        up.serve(PATH, PAGE)

        found = await remotes(f"{up.url}simple/", ca=certificates.ca).page(A, NONE, deadline=soon())

    assert isinstance(found, PageFound)


async def test_unknown_authority__is_not_trusted_and_not_retried(
    certificates: Certificates, remotes: Remotes, counted: Counted, soon: Soon
) -> None:
    async with RawUpstream(tls=certificates.serving()) as up:
        with pytest.raises(RemoteFailed, match=r"^remote public: certificate not trusted: "):
            await remotes(f"{up.url}simple/", retries=3).page(A, NONE, deadline=soon())

        assert up.count() == 0
    assert counted.statuses == ["error"]


async def test_certificate_of_another_host__is_not_trusted(
    certificates: Certificates, remotes: Remotes, soon: Soon
) -> None:
    async with RawUpstream("127.0.0.3", tls=certificates.serving()) as up:
        with pytest.raises(RemoteFailed, match=r"certificate not trusted"):
            await remotes(f"{up.url}simple/", ca=certificates.ca).page(A, NONE, deadline=soon())


async def test_verify_off__trusts_anybody(certificates: Certificates, remotes: Remotes, soon: Soon) -> None:
    async with RawUpstream("127.0.0.3", tls=certificates.serving()) as up:
        up.serve(PATH, PAGE)

        assert isinstance(await remotes(f"{up.url}simple/", verify=False).page(A, NONE, deadline=soon()), PageFound)


async def test_old_tls__is_refused(certificates: Certificates, remotes: Remotes, soon: Soon) -> None:
    context = certificates.serving()
    with pytest.warns(DeprecationWarning, match=r"TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with RawUpstream(tls=context) as up:
        with pytest.raises(RemoteFailed, match=r"TLS failed: |connection reset"):
            await remotes(f"{up.url}simple/", ca=certificates.ca).page(A, NONE, deadline=soon())


async def test_plain_http_on_the_tls_port__fails(remotes: Remotes, soon: Soon) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(RemoteFailed, match=r"^remote public: TLS failed: wrong version number$"):
            await remotes(url, verify=False).page(A, NONE, deadline=soon())


async def test_client_certificate__lets_in(certificates: Certificates, remotes: Remotes, soon: Soon) -> None:
    async with RawUpstream(tls=certificates.serving(client_required=True)) as up:
        up.serve(PATH, PAGE)
        url = f"{up.url}simple/"
        with pytest.raises(RemoteFailed, match=REFUSED):
            await remotes(url, ca=certificates.ca).page(A, NONE, deadline=soon())

        remote = remotes(url, ca=certificates.ca, cert=certificates.client, key=certificates.client_key)

        assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)


async def test_client_certificate__is_not_shown_to_another_origin(
    certificates: Certificates, remotes: Remotes, soon: Soon
) -> None:
    async with (
        RawUpstream(tls=certificates.serving(client_required=True)) as up,
        RawUpstream("127.0.0.2", tls=certificates.serving(client_required=True)) as other,
    ):
        other.serve("/there", PAGE)
        up.script(PATH, Redirect(f"{other.url}there"))
        remote = remotes(f"{up.url}simple/", ca=certificates.ca, cert=certificates.client, key=certificates.client_key)

        with pytest.raises(RemoteFailed, match=REFUSED):
            await remote.page(A, NONE, deadline=soon())

        assert (up.count(), other.count()) == (1, 0)


async def test_redirect__out_of_tls__fails(
    certificates: Certificates, up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    async with RawUpstream(tls=certificates.serving()) as secure:
        secure.script(PATH, Redirect(f"{up.url}simple/a/"))
        with pytest.raises(RemoteFailed, match="from https to http"):
            await remotes(f"{secure.url}simple/", ca=certificates.ca).page(A, NONE, deadline=soon())

    assert up.connections == 0


async def test_redirect__into_tls__is_followed(
    certificates: Certificates, up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    async with RawUpstream(tls=certificates.serving()) as secure:
        secure.serve(PATH, PAGE)
        up.script(PATH, Redirect(f"{secure.url}simple/a/"))
        remote = remotes(ca=certificates.ca, username="me", password="hush")

        assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)
        assert "authorization" not in secure.requests[0].headers


async def test_files_that_cannot_be_loaded__fail_by_name(
    certificates: Certificates, remotes: Remotes, soon: Soon, tmp_path: Path
) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate")
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"ca": tmp_path / "nowhere"}, "tls.ca"),
        ({"ca": nonsense}, "tls.ca"),
        ({"cert": tmp_path / "nowhere"}, "tls.cert"),
        ({"cert": certificates.client}, "tls.cert"),
        ({"cert": certificates.client, "key": certificates.server_key}, "tls.cert"),
    )
    for settings, why in cases:
        with pytest.raises(RemoteFailed, match=why):
            await remotes("https://127.0.0.1:1/", **settings).page(A, NONE, deadline=soon())


async def test_encrypted_key__fails_and_asks_no_terminal(
    certificates: Certificates, remotes: Remotes, soon: Soon, tmp_path: Path
) -> None:
    # A key of this header makes OpenSSL ask for the passphrase; no content is needed for that.
    key = tmp_path / "encrypted.pem"
    key.write_text(
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
        "DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n"
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END EC PRIVATE KEY-----\n"
    )

    with pytest.raises(RemoteFailed, match=r"tls.cert") as caught:
        await remotes("https://127.0.0.1:1/", cert=certificates.client, key=key).page(A, NONE, deadline=soon())

    assert caught.value.__cause__ is not None
    assert str(caught.value.__cause__.__cause__) == "the key is encrypted"


@pytest.mark.parametrize("verify", [True, False])
def test_contexts__take_tls_1_2_at_least(certificates: Certificates, *, verify: bool) -> None:
    settings = RemoteSettings(
        "public", "https://index.example/", cert=certificates.client, key=certificates.client_key, verify=verify
    )
    for context in contexts(settings):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.verify_mode == (ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
        assert context.check_hostname is verify


def test_contexts__own_authority__stands_in_place_of_the_systems(certificates: Certificates) -> None:
    settings = RemoteSettings("public", "https://index.example/", ca=certificates.ca)

    assert [authority["serialNumber"] for authority in contexts(settings).own.get_ca_certs()] == [
        "36FAB6EED98E40299D5B3AAC9E1692D8F71931B7"
    ]
