"""uv publishes behind a guard; pip and uv install what it published beside a public package, with credentials as each
of them keeps them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.clients.commands import CLIENTS, Client, Ended, installed, run, try_to_install, uv
from tests.clients.world import lay
from tests.daemon import Served, a_wheel, serving
from tests.fakes.raw_upstream import RawUpstream
from tests.upload.building import SDIST, WHEEL, sdist, wheel
from tests.uploading import READ, UPLOAD, basic, local

ACME = "acme-1.0-py3-none-any.whl"

each_client = pytest.mark.parametrize("client", CLIENTS)


@asynccontextmanager
async def team(folder: Path) -> AsyncIterator[Served]:
    """A guarded distribution of a repository and a remote; `dist` holds a wheel that needs a public one, and others."""
    dist = folder / "dist"
    dist.mkdir()
    (dist / ACME).write_bytes(a_wheel("acme", "1.0", requires=("coin>=1!0",)))
    (dist / WHEEL).write_bytes(wheel())
    (dist / SDIST).write_bytes(sdist())
    async with RawUpstream() as up:
        lay(up, "negotiated")
        async with serving(folder, local(up, content_guard="staff")) as served:
            yield served


async def publish(served: Served, folder: Path, *more: str, token: str | None = UPLOAD) -> Ended:
    credentials = ("--username", "__token__", "--password", token) if token is not None else ()
    files = sorted((folder / "dist").iterdir())
    url = ("--publish-url", f"{served.url}/pypi/main/legacy/")
    return await uv("publish", *url, *credentials, *more, *files, cwd=folder)


def index_of(served: Served, credentials: str = "") -> str:
    return f"{served.url.replace('://', f'://{credentials}')}/pypi/main/simple/"


def in_one_line(ended: Ended) -> str:
    """What was printed: uv breaks lines to the width that it finds."""
    return " ".join(ended.output.split())


@each_client
async def test_publish__is_installed_beside_a_public_package_and_again_does_nothing(
    tmp_path: Path, client: Client
) -> None:
    async with team(tmp_path) as served:
        first = await publish(served, tmp_path)
        check = ("--check-url", index_of(served, f"__token__:{READ}@"))
        again = await publish(served, tmp_path, *check)
        without = await publish(served, tmp_path)
        versions = served.daemon.machinery.repositories.versions("team")
        index = index_of(served, f"__token__:{READ}@")
        ended = await try_to_install(client, index, "acme", "foo-bar", into=tmp_path / "site")

    assert (first.status, again.status, without.status) == (0, 0, 0), (first, again, without)
    assert len(re.findall("already exists, skipping", in_one_line(again))) == 3
    assert len(versions) == 3
    assert ended.status == 0, ended.output
    assert installed(tmp_path / "site") == {"acme": "1.0", "foo-bar": "1.0", "coin": "1!1.0"}


async def test_publish__refused__prints_why(tmp_path: Path) -> None:
    async with team(tmp_path) as served:
        wrong = await publish(served, tmp_path, token="wrong")
        reader = await publish(served, tmp_path, token=READ)
        assert (await publish(served, tmp_path)).status == 0
        (tmp_path / "dist" / ACME).write_bytes(a_wheel("acme", "1.0", payload=b"other"))
        other = await publish(served, tmp_path)

    assert "401 distribution main wants credentials" in in_one_line(wrong)
    assert "403 these credentials may not upload in distribution main" in in_one_line(reader)
    assert f"File already exists: {ACME} has other bytes in this repository, or had them" in in_one_line(other)
    assert {wrong.status, reader.status, other.status} == {2}


@each_client
async def test_install__without_the_right_credentials__fails(tmp_path: Path, client: Client) -> None:
    async with team(tmp_path) as served:
        assert (await publish(served, tmp_path)).status == 0
        for credentials in ("", "__token__:wrong@", f"__token__:{UPLOAD}@"):
            ended = await try_to_install(client, index_of(served, credentials), "acme", into=tmp_path / "site")
            assert ended.status != 0, credentials
    assert installed(tmp_path / "site") == {}


@each_client
@pytest.mark.parametrize("kept", ["netrc", "keyring"])
async def test_install__credentials_of_netrc_and_keyring__are_sent(tmp_path: Path, client: Client, kept: str) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login __token__ password {READ}\n")
    netrc.chmod(0o600)
    keyring = tmp_path / "bin" / "keyring"
    keyring.parent.mkdir()
    said = json.dumps({"username": "__token__", "password": READ})
    keyring.write_text(f"#!/bin/sh\ncase \"$*\" in *--output=json*) echo '{said}';; *) echo {READ};; esac\n")
    keyring.chmod(0o700)
    async with team(tmp_path) as served:
        assert (await publish(served, tmp_path)).status == 0
        index = index_of(served, "__token__@" if kept == "keyring" else "")
        env = {"NETRC": str(netrc)} if kept == "netrc" else {"PATH": f"{keyring.parent}:/usr/bin:/bin"}
        env |= {"PIP_KEYRING_PROVIDER": "subprocess", "UV_KEYRING_PROVIDER": "subprocess"} if kept == "keyring" else {}
        ended = await installing(client, index, tmp_path, env)

    assert ended.status == 0, ended.output
    assert installed(tmp_path / "site") == {"acme": "1.0", "coin": "1!1.0"}


async def installing(client: Client, index: str, folder: Path, env: dict[str, str]) -> Ended:
    where = ("--target", str(folder / "site"), "--index-url", index, "acme")
    if client == "pip":
        return await run(
            sys.executable, "-m", "pip", "install", "--no-cache-dir", "--no-compile", *where, cwd=folder, env=env
        )
    return await uv("pip", "install", "--no-cache", "--python", sys.executable, *where, cwd=folder, env=env)


async def test_bearer_and_any_user_name__are_the_token_too(tmp_path: Path) -> None:
    async with team(tmp_path) as served:
        answers = [
            await served.ask("/pypi/main/simple/coin/", Authorization=authorization)
            for authorization in (basic(READ), basic(READ, "somebody"), f"Bearer {READ}", f"bearer {READ}")
        ]
    assert [answer.status for answer in answers] == [200] * 4
    assert {answer.headers["Cache-Control"] for answer in answers} == {"private, no-cache"}
