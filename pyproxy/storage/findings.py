"""What an audit finds wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["missing", "cut", "altered", "touched", "orphan", "row", "total", "page"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was wrong, and whether it was put right.

    `missing`, `cut`, `altered`: a blob whose file is gone, of another size, of other bytes. `touched`: a blob whose
    file has another time. `orphan`: a file that no row knows. `row`, `total`, `page`: rows that contradict each other,
    the account, a page or document that cannot be read. `nbytes`: by how much mending changed the account.
    """

    kind: Kind
    subject: str
    detail: str
    mended: bool
    nbytes: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}: {self.detail}{' (mended)' if self.mended else ''}"
