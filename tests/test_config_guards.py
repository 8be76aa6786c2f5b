"""Guards: who is known, who may, and that nothing of a token or a password is ever repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy import config
from pyproxy.config import Config, GuardConfig
from pyproxy.config.htpasswd import read_htpasswd
from pyproxy.errors import ConfigError

ONE, TWO = "1a" * 32, "2b" * 32
# Of no password that anybody knows: these tests never check one.
SALTED = "cul/sMsYmfO8he56QQ1YkeDdX6D.3wNLbv1H7VW8ipLAqaj6C6haW"
BCRYPT = f"$2y$05${SALTED}"

HASH = "must be sha256: and 64 hexadecimal digits, as `pyproxy token NAME` prints it, never the token itself"
NO_BCRYPT = "holds no bcrypt hash ($2a$, $2b$ or $2y$): `htpasswd -B` makes one"

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a configuration with one guard, `g`, that has the keys given."""

    def with_keys(keys: str) -> Config:
        path = tmp_path / "pyproxy.yaml"
        path.write_text(
            "remotes: {r: {url: 'https://index.example/'}}\nguards:\n  g:\n"
            + "".join(f"    {it}\n" for it in keys.splitlines())
        )
        return config.load(path, env={"HOME": str(tmp_path)})

    return with_keys


def wrong(load: Load, keys: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(keys)
    assert all(".yaml:" in line for line in caught.value.mistakes)
    return [line.partition(".yaml:")[2] for line in caught.value.mistakes]


def test_guard__nothing_given__everybody_reads_and_nobody_uploads(load: Load) -> None:
    assert load("{}").guards == {"g": GuardConfig(name="g")}
    assert load("{read: null, upload: null, tokens: null, htpasswd: null}").guards == {"g": GuardConfig(name="g")}


def test_guard__empty_list_of_readers__is_nobody(load: Load) -> None:
    assert load("read: []").guards["g"].read == frozenset()


def test_guard__single_name__needs_no_list(load: Load) -> None:
    assert load(f"read: a\ntokens: {{a: 'sha256:{ONE}'}}").guards["g"].read == frozenset({"a"})


def test_guard__is_hashable_and_equal_where_it_means_the_same(load: Load) -> None:
    before, after = (load(f"read: [a]\ntokens: {{a: 'sha256:{ONE}'}}").guards["g"] for _ in range(2))
    assert len({before, after}) == 1
    assert load(f"read: [a]\ntokens: {{a: 'sha256:{TWO}'}}").guards["g"] != before


def test_token__hash_in_capitals__is_the_same(load: Load) -> None:
    assert load(f"tokens: {{a: 'sha256:{ONE.upper()}'}}").guards["g"].tokens == {"a": ONE}


def test_htpasswd__users__may_read_and_upload_beside_tokens(load: Load, tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"Bob:{BCRYPT}\nbo@example:{BCRYPT}\n")
    found = load(f"htpasswd: users\nread: [t, bo@example]\nupload: [Bob]\ntokens: {{t: 'sha256:{ONE}'}}")
    guard = found.guards["g"]
    assert guard.users == {"Bob": BCRYPT.encode(), "bo@example": BCRYPT.encode()}
    assert (guard.read, guard.upload) == (frozenset({"t", "bo@example"}), frozenset({"Bob"}))
    assert guard.htpasswd == tmp_path / "users"
    assert found.files[tmp_path / "users"] == config.stamp_of(tmp_path / "users")


def test_htpasswd__password_changed__makes_another_guard(load: Load, tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"bob:{BCRYPT}\n")
    before = load("htpasswd: users").guards["g"]
    (tmp_path / "users").write_text(f"bob:{BCRYPT.replace('$05$', '$06$')}\n")
    assert load("htpasswd: users").guards["g"] != before


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("reed: [a]", "4: guards.g.reed: unknown key; did you mean read?"),
        ("users: [a]", "4: guards.g.users: unknown key; did you mean htpasswd?"),
        ("read: [nobody]", "4: guards.g.read: no token or user is called nobody; there is none"),
        (
            f"tokens: {{one: 'sha256:{ONE}'}}\nread: [onn]",
            "5: guards.g.read: no token or user is called onn; did you mean one?",
        ),
        (
            f"tokens: {{one: 'sha256:{ONE}'}}\nupload: x",
            "5: guards.g.upload: no token or user is called x; there is one",
        ),
        ("upload: {a: b}", "4: guards.g.upload: must be a list, not a mapping"),
        ("read: [true]", "4: guards.g.read: must be text: put it in quotes"),
        (f"tokens: ['sha256:{ONE}']", "4: guards.g.tokens: must be a mapping of keys to values, not a list"),
        ("tokens: {ci: null}", f"4: guards.g.tokens.ci: {HASH}"),
        (f"tokens: {{ci: 'sha256:{ONE[1:]}'}}", f"4: guards.g.tokens.ci: {HASH}"),
        (f"tokens: {{ci: '{ONE}'}}", f"4: guards.g.tokens.ci: {HASH}"),
        ("tokens: {ci: 12345678}", f"4: guards.g.tokens.ci: {HASH}"),
        (
            f"tokens: {{ci: 'sha256:{hashlib.sha256().hexdigest()}'}}",
            "4: guards.g.tokens.ci: is the hash of an empty text, and so no token's",
        ),
        (f"tokens: {{a: 'sha256:{ONE}', b: 'sha256:{ONE}'}}", "4: guards.g.tokens.b: is the same token as a"),
        (
            f"tokens:\n  ok: 'sha256:{TWO}'\n  a b: 'sha256:{ONE}'",
            "6: guards.g.tokens: a name must be of letters, digits, dots, dashes and underscores",
        ),
        ("htpasswd: nowhere", "4: guards.g.htpasswd: cannot read {}/nowhere: No such file or directory"),
        ("htpasswd: 7", "4: guards.g.htpasswd: must be a path"),
    ],
)
def test_guard__wrong(load: Load, tmp_path: Path, keys: str, message: str) -> None:
    [line] = wrong(load, keys)
    assert line.startswith(message.format(tmp_path))


@pytest.mark.parametrize(
    "keys",
    [
        "tokens: {ci: pyp_hunter2}",
        "tokens: {ci: hunter2}",
        "tokens:\n  ci:\n    hunter2: x",
        "tokens: {pyp_hunter2: ci}",
        "tokens: {'hunter2/': ci}",
        f"tokens: {{pyp_hunter2: 'sha256:{ONE}'}}",
        f"tokens: {{a: 'sha256:{ONE}', b: 'sha256:{TWO}hunter2'}}",
        f"tokens: {{a: 'sha256:{ONE}'}}\nread: [pyp_hunter2]",
        f"tokens: {{a: 'sha256:{ONE}'}}\nupload: hunter2hunter2hunter2hunter2hunter2hunter2",
        "tokens: {pyp_hunter2: a}\nread: [hunter3]",
    ],
)
def test_guard__a_raw_token_in_the_wrong_place__is_not_repeated(load: Load, keys: str) -> None:
    assert "hunter2" not in " ".join(wrong(load, keys))


def test_guard__many_names__are_not_listed(load: Load, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("".join(f"user{n}:{BCRYPT}\n" for n in range(20)))
    [line] = wrong(load, "htpasswd: users\nread: [zzzzzz]")
    assert line == "5: guards.g.read: no token or user is called zzzzzz; there are 20 others"


def test_guard__a_token_and_a_user_of_one_name__are_refused(load: Load, tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"ci:{BCRYPT}\n")
    [line] = wrong(load, f"htpasswd: users\ntokens: {{ci: 'sha256:{ONE}'}}")
    assert line == (
        f"5: guards.g.tokens.ci: is also the name of a user in {tmp_path}/users: nobody could tell which of them may"
    )


def test_htpasswd__unreadable__is_the_only_mistake(load: Load) -> None:
    [line] = wrong(load, "htpasswd: nowhere\nread: [alice]")
    assert "cannot read" in line


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("hunter2", NO_BCRYPT),
        ("bob:hunter2", NO_BCRYPT),
        ("bob:$apr1$hunter2$abcdefghijklmnopqrstuv", NO_BCRYPT),
        ("bob:{SHA}hunter2", NO_BCRYPT),
        (f"bob:$2x$05${SALTED}", NO_BCRYPT),
        (f"bob:$2y$03${SALTED}", NO_BCRYPT),
        (f"bob:{BCRYPT[:-1]}", NO_BCRYPT),
        (f"bob:{BCRYPT[:-1]}!", NO_BCRYPT),
        (f"bob:realm:{BCRYPT}", NO_BCRYPT),
        (f"bob:$2y$05${SALTED[:21]}/{SALTED[22:]}", NO_BCRYPT),
        (f"bob:$2y$16${SALTED}", "holds a hash of a cost beyond 15: each login would keep a core busy for seconds"),
        (f":{BCRYPT}", "holds no user name that could be sent"),
        (f"hunter2\x01:{BCRYPT}", "holds no user name that could be sent"),
        (f"hunter2\udcff:{BCRYPT}", "holds no user name that could be sent"),
        (f"alice:{BCRYPT}", "names the user of line 2 again"),
    ],
)
def test_htpasswd__wrong_line__is_told_by_its_number_alone(load: Load, tmp_path: Path, line: str, why: str) -> None:
    text = f"# made by hand\nalice:{BCRYPT}\n\n{line}\ncarol:{BCRYPT}\n"
    (tmp_path / "users").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert wrong(load, "htpasswd: users\nread: [alice, carol]") == [
        f"4: guards.g.htpasswd: {tmp_path}/users: line 4 {why}"
    ]


def test_htpasswd__many_wrong_lines__are_counted(load: Load, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("".join(f"u{n}:plain\n" for n in range(12)))
    lines = wrong(load, "htpasswd: users")
    assert len(lines) == 6
    assert lines[-1].endswith("users: 7 more of its lines are wrong")


def test_htpasswd__comments_blanks_and_what_editors_add__are_let_be() -> None:
    raw = f"\ufeffalice:{BCRYPT} \r\n\r\n  # bob:gone\r\nünal:{BCRYPT}:ask her\n".encode()
    assert read_htpasswd(raw).users == {"alice": BCRYPT.encode(), "ünal": BCRYPT.encode()}
    assert read_htpasswd(raw).wrong == ()
    assert read_htpasswd(b"").users == {}


@given(st.binary(max_size=200) | st.text(":$2aby05\n#\\x00" + SALTED[:4], max_size=200).map(str.encode))
def test_htpasswd__anything__is_read_or_told_in_words(raw: bytes) -> None:
    found = read_htpasswd(raw)
    assert all(why.startswith("line ") and why.isprintable() for why in found.wrong)


def test_describe__guards__without_their_hashes(load: Load, tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"bob:{BCRYPT}\n")
    found = load(f"htpasswd: users\nread: [t, bob]\ntokens: {{t: 'sha256:{ONE}'}}")
    shown = config.describe(found)
    assert f"htpasswd: {tmp_path}/users" in shown
    assert "t: '***'" in shown
    assert ONE not in shown + repr(found)
    assert SALTED not in shown + repr(found)
