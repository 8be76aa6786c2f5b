"""Filters as pip and uv meet them: a release that is too young is not chosen, a hidden file is refused with words."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.clients.commands import installed, pip, uv
from tests.daemon import Project, a_wheel, configured, one_remote, serving
from tests.fakes.raw_upstream import RawUpstream

_PROJECT = """\
[project]
name = "errand"
version = "0"
requires-python = ">=3.11"
dependencies = ["alpha"]

[tool.uv]
package = false
"""


def published(up: RawUpstream, name: str, **ages: float) -> Project:
    """Wheels of these versions (`v2_0`), uploaded so many days ago."""
    made = Project(name)
    for key, days in ages.items():
        version = key.removeprefix("v").replace("_", ".")
        uploaded = (datetime.now(UTC) - timedelta(days=days)).isoformat()
        made.add(f"{name}-{version}-py3-none-any.whl", a_wheel(name, version), upload_time=uploaded)
    made.publish(up)
    return made


@pytest.fixture
async def up() -> AsyncIterator[RawUpstream]:
    async with RawUpstream() as remote:
        yield remote


@pytest.fixture
def young(up: RawUpstream) -> RawUpstream:
    """Two projects whose newest release is of yesterday."""
    published(up, "alpha", v1_0=30, v2_0=1)
    published(up, "beta", v1_0=30, v2_0=1)
    return up


@pytest.fixture
def cool_down(young: RawUpstream) -> str:
    return one_remote(young, min_age="7d", exempt=["beta"])


async def test_uv_pip_compile__chooses_what_is_of_age_and_what_is_exempt(cool_down: str, tmp_path: Path) -> None:
    (tmp_path / "wanted.in").write_text("alpha\nbeta\n")
    async with serving(tmp_path, cool_down) as served:
        options = ("--no-cache", "--python", sys.executable, "--default-index", f"{served.url}/simple/", "--no-header")
        compiled = await uv("pip", "compile", *options, "--no-annotate", "wanted.in", cwd=tmp_path)

    assert compiled.status == 0, compiled.output
    assert "alpha==1.0" in compiled.output
    assert "beta==2.0" in compiled.output


async def test_pip__chooses_what_is_of_age_and_what_is_exempt(cool_down: str, tmp_path: Path) -> None:
    async with serving(tmp_path, cool_down) as served:
        flags = ("--no-cache-dir", "--no-compile", "--target", "site", "--index-url", f"{served.url}/simple/")
        ended = await pip("install", *flags, "alpha", "beta", cwd=tmp_path)

    assert ended.status == 0, ended.output
    assert installed(tmp_path / "site") == {"alpha": "1.0", "beta": "2.0"}


async def test_pip__url_of_an_old_lock_file__is_refused_with_the_reason(young: RawUpstream, tmp_path: Path) -> None:
    name = "alpha-2.0-py3-none-any.whl"
    digest = hashlib.sha256(a_wheel("alpha", "2.0")).hexdigest()
    async with serving(tmp_path, one_remote(young, excludes=["alpha==2.0"])) as served:
        url = f"{served.url}/pypi/main/files/up/files/{name}"
        (tmp_path / "lock.txt").write_text(f"alpha @ {url} --hash=sha256:{digest}")
        flags = ("--no-cache-dir", "--no-deps", "--target", "site", "--index-url", f"{served.url}/simple/")
        ended = await pip("install", *flags, "--require-hashes", "-r", "lock.txt", cwd=tmp_path)

    assert ended.status == 1
    assert "403 Client Error: hidden by remote up: excludes names alpha==2.0 for url" in ended.output
    assert not (tmp_path / "site").exists()


async def test_uv_sync__file_of_an_old_lock__is_refused_with_the_reason(young: RawUpstream, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(_PROJECT)
    async with serving(tmp_path, one_remote(young)) as served:
        options = ("--no-cache", "--python", sys.executable, "--default-index", f"{served.url}/simple/")
        locked = await uv("lock", *options, cwd=tmp_path)
        assert locked.status == 0, locked.output
        assert "alpha-2.0" in (tmp_path / "uv.lock").read_text()
        blocked = one_remote(young, block=["alpha==2.0"])
        await served.daemon.apply(configured(tmp_path, blocked))
        synced = await uv("sync", "--frozen", *options, cwd=tmp_path)

    assert synced.status != 0
    # uv breaks lines to the width that it finds.
    assert "403 hidden by remote up: block names alpha==2.0" in " ".join(synced.output.split())
