"""Whether the daemons of the tests answer repeated requests from memory: HOT_PATH=off in the environment says no.

All that a test sees must be the same either way, so the suite can be run both ways.
"""

from __future__ import annotations

import os
import re

_OFF = os.environ.get("HOT_PATH") == "off"
_FLOW = re.compile(r"^(\s*server:\s*\{)", re.MULTILINE)
_BLOCK = re.compile(r"^( *)server:[ ]*\n( +)", re.MULTILINE)


def as_wanted(text: str) -> str:
    """The configuration, with the hot path off where that is wanted and the text does not say."""
    return with_hot_path_off(text) if _OFF and "hot_path" not in text else text


def with_hot_path_off(text: str) -> str:
    if _FLOW.search(text):
        return _FLOW.sub(r"\1hot_path: false, ", text, count=1)
    if _BLOCK.search(text):
        return _BLOCK.sub(r"\1server:\n\2hot_path: false\n\2", text, count=1)
    return f"{text.rstrip()}\nserver: {{hot_path: false}}\n"
