"""Both of aiohttp's parsers, for tests that ask for `parser`."""

from __future__ import annotations

import pytest
from aiohttp import http_parser


@pytest.fixture(params=["compiled", "pure"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pure one serves where aiohttp has no wheel, or AIOHTTP_NO_EXTENSIONS is set; they differ in what they take.

    Tests that name this fixture run with each.
    """
    if request.param == "pure":
        monkeypatch.setattr("aiohttp.web_protocol.HttpRequestParser", http_parser.HttpRequestParserPy)
