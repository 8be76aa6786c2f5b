"""aiohttp, imported in three quarters of its time; to be imported before anything that imports it.

It reads the system's CA certificates twice while it is imported, for requests that bring no context of their own. Each
request to a remote does (`upstream.tls`), so nothing is read here; one that did not would trust nobody.
"""

from __future__ import annotations

import ssl


def _read_none(self: ssl.SSLContext) -> None:
    """Instead of the system's certificates."""


_read = ssl.SSLContext.set_default_verify_paths
ssl.SSLContext.set_default_verify_paths = _read_none  # type: ignore[method-assign]
try:
    import aiohttp.connector  # noqa: F401 - for what it does when it is imported
finally:
    ssl.SSLContext.set_default_verify_paths = _read  # type: ignore[method-assign]
