"""What several workers have counted, as one: sums, single values, the least, and what the dead leave."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from pyproxy.counted import Counts, Family, pack, remains, united, unpack
from pyproxy.metrics import Metrics


def gauge(name: str, value: float) -> Family:
    return Family(name, "gauge", "", [(name, (), value)])


def test_united__sums_but_for_the_modes_named() -> None:
    mine = Counts([gauge("a", 1), gauge("b", 2), gauge("c", 3)], {"main": ["x", "y"]})
    others = [Counts([gauge("a", 10), gauge("b", 20), gauge("c", 1)], {"main": ["y", "z"]}), Counts([gauge("a", 100)])]
    found = united([mine, *others], {"b": "first", "c": "least"})

    assert {family.name: family.samples[0][2] for family in found.families} == {"a": 111, "b": 2, "c": 1}
    assert found.names == {"main": ["x", "y", "z"]}


def test_united__samples_of_other_labels__stand_beside_each_other() -> None:
    first = Family("r", "counter", "", [("r_total", (("k", "a"),), 1), ("r_created", (("k", "a"),), 50)])
    second = Family("r", "counter", "", [("r_total", (("k", "b"),), 2), ("r_created", (("k", "b"),), 70)])
    third = Family("r", "counter", "", [("r_total", (("k", "a"),), 4), ("r_created", (("k", "a"),), 40)])
    [found] = united([Counts([one]) for one in (first, second, third)], {}).families

    assert {(name, dict(labels)["k"]): value for name, labels, value in found.samples} == {
        ("r_total", "a"): 5,
        ("r_total", "b"): 2,
        ("r_created", "a"): 40,
        ("r_created", "b"): 70,
    }


def test_remains__of_the_dead__are_what_only_grows() -> None:
    found = remains(Counts([gauge("a", 1), Family("r", "counter", "", [("r_total", (), 3)])], {"main": ["x"]}))

    assert [family.name for family in found.families] == ["r"]


def test_exposition_of__three_workers__is_what_one_would_have_said() -> None:
    workers = [Metrics() for _ in range(3)]
    for number, worker in enumerate(workers):
        worker.requests.labels("main", "simple", "hit").inc(number + 1)
        worker.request_seconds.labels("simple").observe(0.002 * (number + 1))
        worker.cache_bytes.set(1000)
        worker.open_connections.set(2)
    counts = [worker.counts(dict) for worker in workers]
    text = workers[0].exposition_of(counts).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    values = {(sample.name, *sample.labels.values()): sample.value for f in families.values() for sample in f.samples}

    assert values["pyproxy_requests_total", "main", "simple", "hit"] == 6
    assert values["pyproxy_request_seconds_count", "simple"] == 3
    assert values["pyproxy_request_seconds_bucket", "simple", "0.0025"] == 1
    assert values["pyproxy_request_seconds_bucket", "simple", "+Inf"] == 3
    assert values["pyproxy_cache_bytes",] == 1000
    assert values["pyproxy_open_connections",] == 6
    assert families["pyproxy_build_info"].samples[0].value == 1
    alone = {line.split()[2] for line in workers[0].exposition().decode().splitlines() if line.startswith("# HELP")}
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# HELP")} == alone


def test_pack__is_read_back() -> None:
    counts = Counts([gauge("a", 1.5)], {"main": ["x"]})

    assert unpack(pack(counts)) == counts
