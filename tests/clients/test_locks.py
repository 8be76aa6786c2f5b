from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote

from tests.clients.commands import installed, pip, uv
from tests.clients.world import SHOP, lay, made
from tests.daemon import one_remote, serving
from tests.fakes.raw_upstream import RawUpstream

_PROJECT = """\
[project]
name = "errand"
version = "0"
requires-python = ">=3.11"
dependencies = ["shop", "ribbon"]

[tool.uv]
package = false
"""

_LOCKED = {**SHOP, "ribbon": "0.1"}


def _site(project: Path) -> Path:
    (site,) = (project / ".venv").glob("lib/python3*/site-packages")
    return site


async def test_uv_lock__syncs_frozen_from_an_empty_cache_with_the_remote_gone(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(_PROJECT)
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        lay(up, "negotiated")
        options = ("--no-cache", "--python", sys.executable, "--default-index", f"{served.url}/simple/")
        locked = await uv("lock", *options, cwd=tmp_path)
        assert locked.status == 0, locked.output
        synced = await uv("sync", "--frozen", *options, cwd=tmp_path)
        assert synced.status == 0, synced.output
        await up.stop()
        again = await uv("sync", "--frozen", "--reinstall", *options, cwd=tmp_path)
        assert again.status == 0, again.output
        lock = tomllib.loads((tmp_path / "uv.lock").read_text())

    assert installed(_site(tmp_path)) == _LOCKED
    files = {
        made(unquote(file["url"].rpartition("/")[2])): file
        for package in lock["package"]
        for file in (*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else []))
    }
    assert {f"{name}-{version}" for name, version in _LOCKED.items()} <= {
        f"{package['name']}-{package['version']}" for package in lock["package"]
    }
    assert len(files) >= len(_LOCKED)
    for file, record in files.items():
        assert record["url"].startswith(f"{served.url}/pypi/main/files/up")
        assert record["hash"] == f"sha256:{file.sha256}"


async def test_uv_lock__exported_with_hashes__installs_by_pip(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(_PROJECT)
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        lay(up, "html")
        index = f"{served.url}/simple/"
        options = ("--no-cache", "--python", sys.executable, "--default-index", index)
        exported = await uv("export", *options, "--no-annotate", "-o", "wanted.txt", "--quiet", cwd=tmp_path)
        assert exported.status == 0, exported.output
        flags = ("--no-cache-dir", "--no-compile", "--require-hashes", "--target", "site", "--index-url", index)
        ended = await pip("install", *flags, "-r", "wanted.txt", cwd=tmp_path)

    assert ended.status == 0, ended.output
    assert installed(tmp_path / "site") == _LOCKED
