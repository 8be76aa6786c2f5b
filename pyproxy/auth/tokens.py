"""New tokens: random enough that one SHA-256 keeps them, and easy to find where they were left lying about."""

from __future__ import annotations

import hashlib
import secrets

_BYTES = 32


def new_token() -> tuple[str, str]:
    """A token, to be shown once, and its entry for the file: `sha256:` and the digest of its UTF-8 text."""
    token = f"pyp_{secrets.token_urlsafe(_BYTES)}"
    return token, f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"
