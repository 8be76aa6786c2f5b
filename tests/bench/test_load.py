"""Nobody wins by answering wrong: what counts as an answer, before a real socket."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench import load as loading
from bench.client import WrongAnswer, get
from bench.crowd import crowd
from bench.load import load, one_by_one

BODY = b"x" * 5000


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        wrong = self.path == "/refused"
        body = BODY[:100] if self.path == "/short" else BODY
        self.send_response(503 if wrong else 200)
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/closing":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Says nothing: the name and its arguments are the base class's."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        """A client that has measured enough hangs up in the midst of an answer."""


@contextmanager
def _serving() -> Iterator[str]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(params=["wrk", "own"])
def _generator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "own":
        monkeypatch.setattr(loading, "WRK", None)
    elif loading.WRK is None:
        pytest.skip("wrk is not on this machine")


@pytest.mark.usefixtures("_generator")
def test_load__right_answers__are_counted() -> None:
    with _serving() as url:
        flow = load(f"{url}/", {"Accept": "*/*"}, connections=2, seconds=0.2, length=len(BODY))

    assert flow.requests > 0
    assert flow.nbytes > flow.requests * len(BODY) * 0.5


@pytest.mark.usefixtures("_generator")
def test_load__server_that_closes_after_each_answer__is_asked_anew() -> None:
    with _serving() as url:
        flow = load(f"{url}/closing", {}, connections=2, seconds=0.3, length=len(BODY))

    assert flow.requests > 4


@pytest.mark.usefixtures("_generator")
@pytest.mark.parametrize("path", ["/short", "/refused"])
def test_load__wrong_answers__give_no_figure(path: str) -> None:
    with _serving() as url, pytest.raises(WrongAnswer):
        load(url + path, {}, connections=2, seconds=0.5, length=len(BODY))


def test_one_by_one__answer_of_another_length__gives_no_figure() -> None:
    with _serving() as url:
        assert one_by_one(url, {}, seconds=0.05, length=len(BODY)).requests > 0
        with pytest.raises(WrongAnswer):
            one_by_one(f"{url}/short", {}, seconds=0.05, length=len(BODY))


def test_crowd__each_client_gets_its_whole_answer() -> None:
    with _serving() as url:
        _, found = crowd([url, url, f"{url}/short", f"{url}/refused"])

        assert sorted((got.status, got.nbytes) for got in found) == [(200, 100), (200, 5000), (200, 5000), (503, 5000)]
        assert {got.digest for got in found if got.nbytes == 5000} == {get(url).sha256}
