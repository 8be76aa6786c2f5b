"""Simple repository pages as bytes: parsed, rendered, negotiated. The specification stands beside each branch."""

from __future__ import annotations

from pyproxy.simple_api.links import Linker, Source, linker, source_of
from pyproxy.simple_api.negotiate import Kind, negotiate
from pyproxy.simple_api.parse import ParsedPage, parse_page
from pyproxy.simple_api.render import render_page
from pyproxy.simple_api.versions import split_names

__all__ = [
    "Kind",
    "Linker",
    "ParsedPage",
    "Source",
    "linker",
    "negotiate",
    "parse_page",
    "render_page",
    "source_of",
    "split_names",
]
