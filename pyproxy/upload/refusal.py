"""What is said to who uploads something that cannot be taken."""

from __future__ import annotations

from pyproxy.errors import PyproxyError


class UploadRefused(PyproxyError):
    """An upload that is not taken; `reason` is one readable line for its client.

    `status` is what HTTP calls it: 400 for wrong content, 413 for what passes a bound, 415 for a body that is no form.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
