"""What is added up past Prometheus's own counters is told to it as if each request had been."""

from __future__ import annotations

import pytest

from pyproxy.metrics import Metrics

TIMES = (0.0, 0.0004, 0.0005, 0.00051, 0.0009, 0.001, 0.3, 60.0, 61.0)


def seconds_of(metrics: Metrics) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in metrics.exposition().decode().splitlines()]
    name = "pyproxy_request_seconds"
    return {what: float(value) for what, _, value in lines if what.startswith((f"{name}_b", f"{name}_c", f"{name}_s"))}


def test_tally__of_times__fills_the_buckets_that_each_of_them_would() -> None:
    told, added = Metrics(), Metrics()
    tally = added.tally("main", "simple", "hit")
    for times in (TIMES, TIMES[::2]):
        for seconds in times * 2:
            told.request_seconds.labels("simple").observe(seconds)
        for seconds in times:
            tally.add(0, seconds)
        tally.add_all([("192.0.2.1", seconds) for seconds in times], 0)
        found, expected = (
            {what: value for what, value in seconds_of(one).items() if "_created" not in what} for one in (added, told)
        )
        assert found == pytest.approx(expected)  # sums of floats differ in their order


def test_tally__counts_requests_and_bytes() -> None:
    metrics = Metrics()
    tally = metrics.tally("main", "file", "hit")
    tally.add(100, 0.1)
    tally.add_all([("192.0.2.1", 0.1), ("192.0.2.2", 0.2)], 50)
    lines = metrics.exposition().decode().splitlines()
    assert 'pyproxy_requests_total{distribution="main",kind="file",result="hit"} 3.0' in lines
    assert 'pyproxy_response_bytes_total{kind="file"} 150.0' in lines
