from __future__ import annotations

import pytest

from pyproxy.handlers.fields import wants_json


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/json", True),
        ("application/json, text/plain, */*", True),
        ("application/vnd.pypi.simple.v1+json", True),
        ("Application/JSON;q=0.1", True),
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("text/plain, application/json;q=0.5", False),
        ("application/json;q=0, */*", False),
        ("application/jsonlines", False),
    ],
)
def test_answer__is_json_where_that_is_named_and_wanted_no_less_than_text(accept: str, *, expected: bool) -> None:
    assert wants_json(accept) is expected
