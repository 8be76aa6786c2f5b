"""Who is behind a header, who may, who must wait, and what a warm answer costs nobody again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from pyproxy import config
from pyproxy.auth import WINDOW, Decision, Guard, Passwords, Right, Rights, new_token
from pyproxy.auth.credentials import LONGEST, Credentials, as_credentials
from pyproxy.auth.failures import Failures, network_of
from pyproxy.auth.guard import FAILURES, FAILURES_IN_ALL, REMEMBERED
from pyproxy.auth.passwords import TooBusy
from pyproxy.errors import ConfigError
from pyproxy.machine_index import MachineIndex

ALLOWED, UNKNOWN, FORBIDDEN, LATER = Decision.ALLOWED, Decision.UNKNOWN, Decision.FORBIDDEN, Decision.LATER

HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"
LEAST_COST = 4


def basic(user: str, password: str, *, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode(encoding)).decode()


def hashed(password: str, cost: int = LEAST_COST) -> bytes:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bcrypt:
    """Stands for bcrypt: a hash is `password@`, and every check is written down. With a gate, checks wait for it."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes]] = []
        self.gate: threading.Event | None = None
        self.begun = threading.Semaphore(0)

    def __call__(self, password: bytes, against: bytes) -> bool:
        self.asked.append((password, against))
        self.begun.release()
        if self.gate is not None:
            self.gate.wait(10)
        return password + b"@" == against


class House:
    """Guards over one set of tokens and users, with a clock and a bcrypt of their own."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.clock = Clock()
        self.bcrypt = Bcrypt()
        self.passwords = Passwords(executor, checks=2, waiting=3, fits=self.bcrypt)
        self.users = {"alice": b"wonder@", "Bob": b"builder@", "\xfcnal": "stra\xdfe@".encode()}
        self.tokens = {name: hashlib.sha256(f"{name}-token".encode()).hexdigest() for name in ("ci", "release")}
        self.elsewhere = {hashlib.sha256(b"other-token").hexdigest()}
        self.guards: list[Guard] = []

    def guard(self, read: set[str] | None, upload: set[str], *, users: bool = True) -> Guard:
        rights = Rights(None if read is None else frozenset(read), frozenset(upload))
        made = Guard(
            rights,
            tokens=self.tokens,
            users=self.users if users else {},
            passwords=self.passwords,
            elsewhere=self.elsewhere.__contains__,
            clock=self.clock,
        )
        self.guards.append(made)
        return made


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest_asyncio.fixture
async def house(executor: ThreadPoolExecutor) -> AsyncIterator[House]:
    made = House(executor)
    yield made
    if made.bcrypt.gate is not None:
        made.bcrypt.gate.set()
    for guard in made.guards:
        await guard.close()


@pytest.fixture
def guard(house: House) -> Guard:
    """ci, alice and ünal read; release and Bob upload."""
    return house.guard({"ci", "alice", "\xfcnal"}, {"release", "Bob"})


# ------------------------------------------------------------------------------------------------------- the table


@pytest.mark.parametrize(
    ("authorization", "read", "upload"),
    [
        (None, UNKNOWN, UNKNOWN),
        ("", UNKNOWN, UNKNOWN),
        ("Basic", UNKNOWN, UNKNOWN),
        (basic("__token__", "ci-token"), ALLOWED, FORBIDDEN),
        (basic("whoever", "ci-token"), ALLOWED, FORBIDDEN),
        (basic("", "ci-token"), ALLOWED, FORBIDDEN),
        (basic("alice", "ci-token"), ALLOWED, FORBIDDEN),
        ("Bearer ci-token", ALLOWED, FORBIDDEN),
        ("bearer  release-token ", FORBIDDEN, ALLOWED),
        (basic("__token__", "release-token"), FORBIDDEN, ALLOWED),
        (basic("__token__", "ci-token "), UNKNOWN, UNKNOWN),
        (basic("__token__", "CI-token"), UNKNOWN, UNKNOWN),
        (basic("ci-token", ""), UNKNOWN, UNKNOWN),
        ("Bearer wrong", UNKNOWN, UNKNOWN),
        ("Digest ci-token", UNKNOWN, UNKNOWN),
        (basic("alice", "wonder"), ALLOWED, FORBIDDEN),
        (basic("alice", "builder"), UNKNOWN, UNKNOWN),
        (basic("alice", ""), UNKNOWN, UNKNOWN),
        (basic("Alice", "wonder"), UNKNOWN, UNKNOWN),
        ("Bearer wonder", UNKNOWN, UNKNOWN),
        (basic("Bob", "builder").replace("Basic", "BASIC"), FORBIDDEN, ALLOWED),
        (basic("bob", "builder"), UNKNOWN, UNKNOWN),
        (basic("\xfcnal", "stra\xdfe"), ALLOWED, FORBIDDEN),
        (basic("\xfcnal", "stra\xdfe", encoding="latin-1"), ALLOWED, FORBIDDEN),
        (basic("nobody", "wonder"), UNKNOWN, UNKNOWN),
        (basic("__token__", "other-token"), FORBIDDEN, FORBIDDEN),
        ("Bearer other-token", FORBIDDEN, FORBIDDEN),
    ],
)
async def test_decide__once_and_again(
    guard: Guard, authorization: str | None, read: Decision, upload: Decision
) -> None:
    for _ in range(2):
        assert await guard.decide(authorization, "read", HERE) is read
        assert await guard.decide(authorization, "upload", HERE) is upload


async def test_decide__token_of_another_guard__is_no_guess(guard: Guard) -> None:
    for _ in range(2 * FAILURES):
        assert await guard.decide(basic("__token__", "other-token"), "read", HERE) is FORBIDDEN
    assert guard.who(basic("__token__", "other-token")) is None
    assert await guard.decide(basic("__token__", "wrong"), "read", HERE) is UNKNOWN


@pytest.mark.parametrize("authorization", [None, "junk", "Bearer wrong", basic("alice", "wrong")])
async def test_decide__everybody_may_read__nothing_is_looked_at(house: House, authorization: str | None) -> None:
    guard = house.guard(None, {"release"})
    for _ in range(2 * FAILURES):
        assert await guard.decide(authorization, "read", HERE) is ALLOWED
    assert house.bcrypt.asked == []


async def test_decide__nobody_may__is_401_to_strangers_and_403_to_all_others(house: House) -> None:
    guard = house.guard(set(), set())
    assert await guard.decide(None, "upload", HERE) is UNKNOWN
    assert await guard.decide("Bearer ci-token", "read", HERE) is FORBIDDEN
    assert await guard.decide("Bearer ci-token", "upload", HERE) is FORBIDDEN


async def test_decide__real_bcrypt_in_all_its_spellings(executor: ThreadPoolExecutor) -> None:
    users = {kind: hashed("pass").replace(b"$2b$", f"${kind}$".encode()) for kind in ("2a", "2b", "2y")}
    users |= {"long": hashed("x" * 72), "broken": b"$2b$04$"}
    guard = Guard(Rights(frozenset(users), frozenset()), tokens={}, users=users, passwords=Passwords(executor))
    assert [await guard.decide(basic(kind, "pass"), "read", HERE) for kind in ("2a", "2b", "2y")] == [ALLOWED] * 3
    assert await guard.decide(basic("2y", "Pass"), "read", HERE) is UNKNOWN
    assert await guard.decide(basic("long", "x" * 72), "read", HERE) is ALLOWED
    assert await guard.decide(basic("long", "x" * 73), "read", HERE) is UNKNOWN
    assert await guard.decide(basic("broken", ""), "read", HERE) is UNKNOWN
    assert await guard.decide(basic("broken", "x"), "read", HERE) is UNKNOWN


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: "Basic " + base64.b64encode(raw).decode()))
def test_decide__any_header__is_nobody(header: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        guard = Guard(
            Rights(frozenset({"a"}), frozenset()),
            tokens={"a": "0" * 64},
            users={"a": b"?"},
            passwords=Passwords(pool, fits=lambda _, __: False),
        )
        assert asyncio.run(guard.decide(header, "read", HERE)) is UNKNOWN


# ------------------------------------------------------------------------------------------------ remembered logins


async def test_password__found_right__is_checked_once(house: House, guard: Guard) -> None:
    for _ in range(5):
        assert await guard.decide(basic("alice", "wonder"), "read", HERE) is ALLOWED
    assert house.bcrypt.asked == [(b"wonder", b"wonder@")]


async def test_password__found_wrong__is_checked_every_time(house: House, guard: Guard) -> None:
    for _ in range(3):
        assert await guard.decide(basic("alice", "x"), "read", HERE) is UNKNOWN
    assert len(house.bcrypt.asked) == 3


async def test_password__asked_for_by_many_at_once__is_checked_once(house: House, guard: Guard) -> None:
    found = await asyncio.gather(*(guard.decide(basic("alice", "wonder"), "read", HERE) for _ in range(50)))
    assert found == [ALLOWED] * 50
    assert len(house.bcrypt.asked) == 1


async def test_password__whoever_asked_first_has_gone__is_found_for_the_others(house: House, guard: Guard) -> None:
    house.bcrypt.gate = threading.Event()
    first, second = (asyncio.create_task(guard.decide(basic("alice", "wonder"), "read", HERE)) for _ in range(2))
    await asyncio.to_thread(house.bcrypt.begun.acquire)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    house.bcrypt.gate.set()
    assert await second is ALLOWED


async def test_memory__is_bounded_and_forgets_the_longest_unused(house: House, guard: Guard) -> None:
    alice = basic("alice", "wonder")
    await guard.decide(alice, "read", HERE)
    await guard.decide(basic("Bob", "builder"), "read", HERE)
    for n in range(REMEMBERED - 1):
        await guard.decide(basic(f"any{n}", "ci-token"), "read", HERE)
        await guard.decide(alice, "read", HERE)
    assert [password for password, _ in house.bcrypt.asked] == [b"wonder", b"builder"]
    await guard.decide(basic("Bob", "builder"), "read", HERE)
    assert [password for password, _ in house.bcrypt.asked] == [b"wonder", b"builder", b"builder"]


async def test_who__names_those_found_right_and_nobody_else(guard: Guard) -> None:
    alice, release, wrong = basic("alice", "wonder"), "Bearer release-token", basic("alice", "x")
    assert guard.who(alice) is None
    for header in (alice, release, wrong):
        await guard.decide(header, "read", HERE)
    assert [guard.who(header) for header in (alice, release, wrong, None, "x" * LONGEST * 2)] == [
        "alice",
        "release",
        None,
        None,
        None,
    ]


async def test_memory__holds_no_password_and_no_token(guard: Guard) -> None:
    header = basic("alice", "wonder")
    await guard.decide(header, "read", HERE)
    await guard.decide("Bearer ci-token", "read", HERE)
    held = repr(vars(guard))
    assert "wonder'" not in held
    assert "ci-token" not in held
    assert header not in held


# --------------------------------------------------------------------------------------------------- unknown users


async def test_unknown_user__costs_a_check_too_against_always_the_same_hash(house: House, guard: Guard) -> None:
    for _ in range(4):
        assert await guard.decide(basic("mallory", "x"), "read", HERE) is UNKNOWN
    assert len(house.bcrypt.asked) == 4
    assert {against for _, against in house.bcrypt.asked} < set(house.users.values())
    assert len({against for _, against in house.bcrypt.asked}) == 1


async def test_unknown_users__stand_for_every_known_one(house: House, guard: Guard) -> None:
    for n in range(60):
        await guard.decide(basic(f"mallory{n}", "x"), "read", HERE)
    assert {against for _, against in house.bcrypt.asked} == set(house.users.values())


async def test_unknown_user__with_the_password_of_the_hash_that_stood_in__is_nobody(house: House) -> None:
    house.users = {"alice": b"wonder@"}
    guard = house.guard({"alice"}, set())
    assert await guard.decide(basic("mallory", "wonder"), "read", HERE) is UNKNOWN
    assert house.bcrypt.asked == [(b"wonder", b"wonder@")]


@pytest.mark.parametrize("header", ["Bearer wrong", basic("__token__", "wrong")])
async def test_wrong_token__costs_no_check(house: House, guard: Guard, header: str) -> None:
    assert await guard.decide(header, "read", HERE) is UNKNOWN
    assert house.bcrypt.asked == []


async def test_token_user__in_the_file__is_a_user_like_others(house: House) -> None:
    house.users = {"__token__": b"secret@"}
    assert await house.guard({"__token__"}, set()).decide(basic("__token__", "secret"), "read", HERE) is ALLOWED


# -------------------------------------------------------------------------------------------------------- failures


async def fail(guard: Guard, times: int, user: str = "__token__", address: str = HERE) -> list[Decision]:
    return [await guard.decide(basic(user, f"wrong{n}"), "read", address) for n in range(times)]


async def test_failures__too_many__are_told_to_wait_until_the_window_has_passed(house: House, guard: Guard) -> None:
    assert await fail(guard, FAILURES) == [UNKNOWN] * FAILURES
    assert await fail(guard, 3) == [LATER] * 3
    house.clock.now += WINDOW - 0.5
    assert await fail(guard, 1) == [LATER]
    house.clock.now += 1
    assert await fail(guard, FAILURES) == [UNKNOWN] * FAILURES
    assert await fail(guard, 1) == [LATER]


@pytest.mark.parametrize("authorization", ["Bearer ci-token", basic("__token__", "ci-token"), basic("x", "ci-token")])
async def test_failures__too_many__do_not_shut_out_a_token(guard: Guard, authorization: str) -> None:
    await fail(guard, FAILURES + 1)
    await fail(guard, FAILURES + 1, user="x")
    assert await guard.decide(authorization, "read", HERE) is ALLOWED


async def test_failures__too_many__do_not_shut_out_who_was_right_before(guard: Guard) -> None:
    assert await guard.decide(basic("alice", "wonder"), "read", HERE) is ALLOWED
    assert (await fail(guard, FAILURES + 1, user="alice"))[-1] is LATER
    assert await guard.decide(basic("alice", "wonder"), "read", HERE) is ALLOWED


async def test_failures__too_many_of_a_user__keep_the_right_password_waiting_too(house: House, guard: Guard) -> None:
    await fail(guard, FAILURES, user="alice")
    asked = len(house.bcrypt.asked)
    assert await guard.decide(basic("alice", "wonder"), "read", HERE) is LATER
    assert len(house.bcrypt.asked) == asked
    assert await guard.decide(basic("alice", "wonder"), "read", ELSEWHERE) is ALLOWED


async def test_failures__of_one_name__say_nothing_of_another(guard: Guard) -> None:
    await fail(guard, FAILURES + 1, user="nobody")
    assert await guard.decide(basic("alice", "wonder"), "read", HERE) is ALLOWED


async def test_failures__of_ever_other_names__are_limited_by_address(guard: Guard) -> None:
    found = [await guard.decide(basic(f"u{n}", "x"), "read", HERE) for n in range(FAILURES_IN_ALL + 1)]
    assert found == [UNKNOWN] * FAILURES_IN_ALL + [LATER]
    assert await fail(guard, 1, address=ELSEWHERE) == [UNKNOWN]


async def test_failures__from_one_ipv6_network__count_together(guard: Guard) -> None:
    for n in range(FAILURES):
        assert await fail(guard, 1, address=f"2001:db8::{n:x}") == [UNKNOWN]
    assert await fail(guard, 1, address="2001:db8::ffff:1") == [LATER]
    assert await fail(guard, 1, address="2001:db8:0:1::1") == [UNKNOWN]


async def test_failures__nothing_guessed__is_not_counted(guard: Guard) -> None:
    for _ in range(2 * FAILURES):
        for header in (None, "Basic !", basic("alice", ""), "Digest x", "Bearer"):
            assert await guard.decide(header, "read", HERE) is UNKNOWN
    assert await guard.decide(basic("alice", "wonder"), "read", HERE) is ALLOWED


async def test_failures__known_and_not_allowed__are_none(guard: Guard) -> None:
    for _ in range(2 * FAILURES):
        assert await guard.decide("Bearer ci-token", "upload", HERE) is FORBIDDEN


async def test_failures__too_many__are_logged_once_without_names(
    guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await fail(guard, FAILURES + 5, user="hunter2")
    assert [record.getMessage() for record in caplog.records] == [
        f"too many failed logins from {HERE}: it is told to wait for 60 s"
    ]


def test_failures__remembered__are_bounded() -> None:
    failures = Failures(1, clock=Clock(), remembered=3)
    for key in range(5):
        assert failures.add(key)
    assert len(failures) == 3
    assert [failures.are_too_many(key) for key in range(5)] == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_network_of(address: str, network: str) -> None:
    assert network_of(address) == network


# ---------------------------------------------------------------------------------------------------- many at once


async def test_passwords__too_many_at_once__are_told_to_wait_and_the_rest_is_checked(
    house: House, guard: Guard
) -> None:
    house.bcrypt.gate = threading.Event()
    tasks = [asyncio.create_task(guard.decide(basic("alice", f"x{n}"), "read", HERE)) for n in range(6)]
    for _ in range(2):
        await asyncio.to_thread(house.bcrypt.begun.acquire)
    assert await tasks[5] is LATER  # two are being checked, three wait
    assert len(house.bcrypt.asked) == 2
    house.bcrypt.gate.set()
    assert await asyncio.gather(*tasks[:5]) == [UNKNOWN] * 5
    assert len(house.bcrypt.asked) == 5


async def test_passwords__every_place_taken__tokens_and_known_users_pass(house: House, guard: Guard) -> None:
    assert await guard.decide(basic("alice", "wonder"), "read", HERE) is ALLOWED
    house.bcrypt.begun.acquire()
    house.bcrypt.gate = threading.Event()
    tasks = [asyncio.create_task(guard.decide(basic("Bob", f"x{n}"), "read", HERE)) for n in range(5)]
    for _ in range(2):
        await asyncio.to_thread(house.bcrypt.begun.acquire)
    assert await guard.decide(basic("alice", "wonder"), "read", HERE) is ALLOWED
    assert await guard.decide("Bearer ci-token", "read", HERE) is ALLOWED
    house.bcrypt.gate.set()
    await asyncio.gather(*tasks)


async def test_passwords__a_waiter_that_is_cancelled__gives_its_place_back(house: House) -> None:
    house.bcrypt.gate = threading.Event()
    tasks = [asyncio.create_task(house.passwords.fit(b"x%d" % n, b"")) for n in range(5)]
    for _ in range(2):
        await asyncio.to_thread(house.bcrypt.begun.acquire)
    with pytest.raises(TooBusy):
        await house.passwords.fit(b"y", b"")
    tasks[4].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[4]
    tasks[4] = asyncio.create_task(house.passwords.fit(b"z", b"z@"))
    house.bcrypt.gate.set()
    assert await asyncio.gather(*tasks) == [False, False, False, False, True]


async def test_passwords__are_checked_off_the_loop(executor: ThreadPoolExecutor) -> None:
    threads: list[int] = []

    def fits(_: bytes, __: bytes) -> bool:
        threads.append(threading.get_ident())
        return True

    assert await Passwords(executor, fits=fits).fit(b"a", b"b")
    assert threads != [threading.get_ident()]


async def test_passwords__longer_than_bcrypt_reads__are_wrong_unasked(house: House) -> None:
    assert not await house.passwords.fit(b"x" * 73, b"x" * 73 + b"@")
    assert house.bcrypt.asked == []
    assert await house.passwords.fit(b"x" * 72, b"x" * 72 + b"@")


# ----------------------------------------------------------------------------------------------------- credentials


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (basic("user", "pass:word"), Credentials("user", b"pass:word")),
        ("  basic \t" + basic("u", "p").removeprefix("Basic ") + "  ", Credentials("u", b"p")),
        (basic("", "p"), Credentials("", b"p")),
        (basic("\u540d", "\u20ac"), Credentials("\u540d", "\u20ac".encode())),
        (basic("\xe9", "\xe9", encoding="latin-1"), Credentials("\xe9", "\xe9".encode())),
        ("BEARER abc", Credentials(None, b"abc")),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic " + base64.b64encode(b"no colon").decode(), None),
        ("Basic " + base64.b64encode(b"user:").decode(), None),
        ("Basic " + base64.b64encode(b"us\x00er:p").decode(), None),
        ("Basic " + base64.b64encode(b"user:p\nq").decode(), None),
        ("Basic dXNlcjpwdw", None),
        ("Basic dXNl\xe9cjpw", None),
        ("Bearer \udcff", None),
        ("Basic\tdXNlcjpw", None),
        ("Negotiate abc", None),
        ("Bearer " + "x" * LONGEST, None),
    ],
)
def test_as_credentials(header: str, expected: Credentials | None) -> None:
    assert as_credentials(header) == expected


def test_credentials__do_not_print_their_secret() -> None:
    assert "hunter2" not in repr(as_credentials(basic("user", "hunter2")))


# ---------------------------------------------------------------------------------------------------------- tokens


async def test_new_token__and_its_entry__open_what_the_file_says(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    token, entry = new_token()
    path = tmp_path / "pyproxy.yaml"
    path.write_text(
        f"remotes: {{r: {{url: 'https://index.example/'}}}}\nguards: {{g: {{read: [ci], tokens: {{ci: '{entry}'}}}}}}\n"
    )
    found = config.load(path).guards["g"]
    guard = Guard(
        Rights(found.read, found.upload), tokens=found.tokens, users=found.users, passwords=Passwords(executor)
    )
    assert await guard.decide(basic("__token__", token), "read", HERE) is ALLOWED
    assert await guard.decide(basic("__token__", entry), "read", HERE) is UNKNOWN


def test_new_token__is_random_long_and_known_by_its_beginning() -> None:
    made = [new_token()[0] for _ in range(100)]
    assert len(set(made)) == 100
    assert all(token.startswith("pyp_") and len(token) == 47 and token.isascii() for token in made)


def test_new_token__in_the_place_of_a_name__is_refused_unrepeated(tmp_path: Path) -> None:
    token, entry = new_token()
    path = tmp_path / "pyproxy.yaml"
    path.write_text(f"guards: {{g: {{tokens: {{{token}: '{entry}'}}}}}}\n")
    with pytest.raises(ConfigError, match=r"guards\.g\.tokens: must be NAME") as caught:
        config.load(path, machine=lambda: MachineIndex(url="https://index.example/"))
    assert token not in str(caught.value)


@pytest.mark.parametrize("right", ["read", "upload"])
async def test_decide__right_token_of_another_guard__is_unknown_here(house: House, right: Right) -> None:
    house.tokens = {"other": hashlib.sha256(b"other-token").hexdigest()}
    other = house.guard({"other"}, {"other"}, users=False)
    assert await other.decide("Bearer other-token", right, HERE) is ALLOWED
    assert await other.decide("Bearer ci-token", right, HERE) is UNKNOWN
