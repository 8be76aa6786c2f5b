"""The configurations in config/: each is accepted, and full.yaml shows every key with its default."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from pyproxy.config import (
    DistributionConfig,
    FilterConfig,
    Flags,
    GuardConfig,
    RemoteConfig,
    ServerConfig,
    StorageConfig,
    TlsConfig,
    load,
    warnings,
)
from tests.ladder import ROOT

_UPSTREAM = Flags(upstream="https://index.example/simple/")

# The names of the fields that the file spells otherwise, or that come from elsewhere.
_NOT_KEYS = {"name", "machine", "contents", "users", "blocked"}
_SPELLED = {"remotes": "remote"}


def _keys(kind: type[Any]) -> set[str]:  # Any: one of the configuration's dataclasses
    return {_SPELLED.get(field.name, field.name) for field in fields(kind)} - _NOT_KEYS


def test_full_yaml__shows_every_key() -> None:
    full = yaml.safe_load((ROOT / "config" / "full.yaml").read_text("utf-8"))

    assert set(full) == {"server", "storage", "remotes", "repositories", "guards", "distributions"}
    assert set(full["server"]) == _keys(ServerConfig)
    assert set(full["storage"]) == _keys(StorageConfig)
    assert set(full["remotes"]["public"]) == _keys(RemoteConfig) - {"filters"} | _keys(FilterConfig)
    assert set(full["remotes"]["public"]["tls"]) == _keys(TlsConfig)
    assert set(full["guards"]["staff"]) == _keys(GuardConfig)
    assert set(full["distributions"]["main"]) == _keys(DistributionConfig)


def test_full_yaml__shows_the_defaults(tmp_path: Path) -> None:
    least = tmp_path / "least.yaml"
    least.write_text("guards: {staff: {}}\n")

    # Two configurations are equal where they mean the same, wherever they were read: but for the guard, which stands
    # before nothing, the file says what pyproxy does without any.
    assert load(ROOT / "config" / "full.yaml", flags=_UPSTREAM) == load(least, flags=_UPSTREAM)


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "config").glob("*.yaml")))
def test_config__example__is_accepted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "config" / name).read_text("utf-8")
    for secret in re.findall(r"^[^#\n]*\benv:(\w+)", text, re.MULTILINE):
        monkeypatch.setenv(secret, "x")
    (tmp_path / "secret").write_text("x")
    example = tmp_path / name
    example.write_text(re.sub(r"(?m)^([^#\n]*\bfile:)\S+", rf"\g<1>{tmp_path / 'secret'}", text))

    config = load(example, flags=_UPSTREAM)

    assert config.distributions
    assert warnings(config) == []
