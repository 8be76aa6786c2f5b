from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.clients.commands import CLIENTS, Client, contents, install, installed, pip, try_to_install, uv
from tests.clients.world import FORMS, SHOP, lay, made
from tests.daemon import one_remote, serving
from tests.fakes.raw_upstream import RawUpstream

each_client = pytest.mark.parametrize("client", CLIENTS)


def _fetched(up: RawUpstream) -> list[str]:
    """The paths of all files that the remote was asked for, core metadata apart."""
    return [r.path for r in up.requests if r.path.startswith("/files/") and not r.path.endswith(".metadata")]


@each_client
async def test_install__same_content_in_three_forms__is_the_same(tmp_path: Path, client: Client) -> None:
    async with RawUpstream() as up:
        for form in FORMS:
            lay(up, form, f"/{form}")
        remotes = "".join(f"  {form}: {{url: {up.url}{form}/simple/}}\n" for form in FORMS)
        distributions = "".join(f"  {form}: {{remote: {form}}}\n" for form in FORMS)
        async with serving(tmp_path, f"remotes:\n{remotes}distributions:\n{distributions}") as served:
            folders = [tmp_path / form / "site" for form in FORMS]
            await asyncio.gather(
                *(
                    install(client, f"{served.url}/pypi/{form}/simple/", "shop", "basket[gift]", into=folder)
                    for form, folder in zip(FORMS, folders, strict=True)
                )
            )

    first, *others = (contents(folder) for folder in folders)
    assert installed(folders[0]) == {**SHOP, "ribbon": "0.1"}
    assert others == [first, first]


@each_client
async def test_install__cold_warm_remote_stopped_and_restarted__is_the_same(tmp_path: Path, client: Client) -> None:
    stages = ("cold", "warm", "stopped", "restarted")
    took = dict.fromkeys(stages, 0.0)
    async with RawUpstream() as up:
        lay(up, "negotiated")
        async with serving(tmp_path, one_remote(up)) as served:
            index = f"{served.url}/simple/"
            took["cold"] = (await install(client, index, "shop", into=tmp_path / "cold")).seconds
            asked = up.count()
            took["warm"] = (await install(client, index, "shop", into=tmp_path / "warm")).seconds
            assert up.count() == asked  # pages are fresh, files and core metadata are stored
            await up.stop()
            took["stopped"] = (await install(client, index, "shop", into=tmp_path / "stopped")).seconds
        async with serving(tmp_path, one_remote(up)) as served:
            index = f"{served.url}/simple/"
            took["restarted"] = (await install(client, index, "shop", into=tmp_path / "restarted")).seconds
        files = _fetched(up)

    assert len(files) >= len(SHOP)
    assert installed(tmp_path / "cold") == SHOP
    assert [contents(tmp_path / stage) for stage in stages] == [contents(tmp_path / "cold")] * len(stages)
    assert max(took.values()) < 20, took


@each_client
async def test_install__with_hashes_required__takes_the_right_file_and_refuses_another(
    tmp_path: Path, client: Client
) -> None:
    scale, crate = made("scale-1.0-py3-none-any.whl"), made("crate-1.0-py3-none-any.whl")
    right, wrong = tmp_path / "right.txt", tmp_path / "wrong.txt"
    right.write_text(
        f"scale==1.0 --hash=sha256:{scale.sha256}\ncrate==1.0 --hash=sha256:{crate.sha256}\n"
        f"till==1.0 --hash=sha256:{made('till-1.0.tar.gz').sha256}\n"
    )
    wrong.write_text(f"scale==1.0 --hash=sha256:{crate.sha256}\n")
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        lay(up, "json")
        index = f"{served.url}/simple/"
        flags = ("--require-hashes", "--no-deps")
        await install(client, index, *flags, "-r", right, into=tmp_path / "kept")
        refused = await try_to_install(client, index, *flags, "-r", wrong, into=tmp_path / "refused")

    assert installed(tmp_path / "kept") == {"scale": "1.0", "crate": "1.0", "till": "1.0"}
    assert refused.status != 0
    assert "hash" in refused.output.lower()
    assert installed(tmp_path / "refused") == {}


@each_client
async def test_install__yanked__is_passed_over_unless_pinned_and_its_reason_is_told(
    tmp_path: Path, client: Client
) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        lay(up, "html")
        index = f"{served.url}/simple/"
        await install(client, index, "scale", into=tmp_path / "newest")
        pinned = await install(client, index, "scale==1.1", into=tmp_path / "pinned")

    assert installed(tmp_path / "newest") == {"scale": "1.0"}
    assert installed(tmp_path / "pinned") == {"scale": "1.1"}
    assert 'weighs <b>"wrong"</b> & slowly' in pinned.output


@each_client
async def test_install__names_as_people_write_them_and_a_prerelease__are_found(tmp_path: Path, client: Client) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        lay(up, "json")
        await install(client, f"{served.url}/simple/", "PRICE.Tag==1.3rc1", into=tmp_path / "site")

    assert installed(tmp_path / "site") == {"price-tag": "1.3rc1", "coin": "1!1.0"}


@each_client
async def test_install__sdist_by_choice__is_built_as_the_wheel_is(tmp_path: Path, client: Client) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        lay(up, "negotiated")
        index = f"{served.url}/simple/"
        await install(client, index, "--no-binary", "ribbon", "ribbon", into=tmp_path / "built")
        await install(client, index, "--only-binary", "ribbon", "ribbon", into=tmp_path / "taken")
        files = _fetched(up)

    assert files == ["/files/ribbon-0.1.tar.gz", "/files/ribbon-0.1-py3-none-any.whl"]
    assert contents(tmp_path / "built") == contents(tmp_path / "taken")


async def test_download__every_file__has_the_bytes_of_the_remote(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        lay(up, "json")
        flags = ("--no-deps", "--no-cache-dir", "--index-url", f"{served.url}/simple/", "--dest", "got")
        ended = await pip("download", *flags, "crate", "till", "coin", "scale==1.2", cwd=tmp_path)

    assert ended.status == 0, ended.output
    names = [
        "coin-1!1.0-py3-none-any.whl",
        "crate-1.0-py3-none-any.whl",
        "scale-1.2-py3-none-any.whl",
        "till-1.0.tar.gz",
    ]
    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == names
    for name in names:
        assert (tmp_path / "got" / name).read_bytes() == made(name).data


async def test_resolution__reads_core_metadata_and_no_whole_wheel(tmp_path: Path) -> None:
    crate, wanted = made("crate-1.0-py3-none-any.whl"), tmp_path / "wanted.in"
    wanted.write_text("basket\ncrate\n")
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        lay(up, "json")
        flags = ("--no-cache", "--no-annotate", "--no-header", "--index-url", f"{served.url}/simple/")
        ended = await uv("pip", "compile", *flags, wanted, cwd=tmp_path)
        wheels = set(_fetched(up))
        got = up.sent[f"/files/{crate.filename}"]

    assert ended.status == 0, ended.output
    assert ended.output.splitlines()[-4:] == ["basket==1.1", "coin==1!1.0", "crate==1.0", "price-tag==1.2.post1"]
    # Of two the remote does not serve the core metadata: it is read out of the wheel, by ranges.
    assert wheels == {f"/files/{crate.filename}", "/files/coin-1%211.0-py3-none-any.whl"}
    assert 0 < got < len(crate.data) / 4


async def test_report__names_links_of_the_proxy_and_the_hashes(tmp_path: Path) -> None:
    scale, report = made("scale-1.0-py3-none-any.whl"), tmp_path / "report.json"
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        lay(up, "html")
        flags = ("--dry-run", "--ignore-installed", "--no-cache-dir", "--index-url", f"{served.url}/simple/")
        ended = await pip("install", *flags, "--report", report, "scale", cwd=tmp_path)
        (link,) = (one["download_info"] for one in json.loads(report.read_text())["install"])

    assert ended.status == 0, ended.output
    assert link["url"].startswith(f"{served.url}/pypi/main/files/up")
    assert link["url"].endswith(f"/files/{scale.filename}")
    assert link["archive_info"]["hashes"] == {"sha256": scale.sha256}
