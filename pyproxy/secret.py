"""Text that is known and never shown: passwords, tokens, and the URLs that carry them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A str that prints as `***`, wherever it may end up; `reveal` is the one way to the text.

    Two of the same text are equal, so a configuration with an unchanged secret is an unchanged configuration.
    """

    _text: str

    def reveal(self) -> str:
        """The text itself, for the one header or the one connection that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__
