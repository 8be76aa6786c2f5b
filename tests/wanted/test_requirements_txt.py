from __future__ import annotations

from pathlib import Path

import pytest

from pyproxy.wanted import Ask, Unreadable, gathered

SHA = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def read(folder: Path, text: str, **more: str) -> tuple[list[str], tuple[str, ...]]:
    """The asks in words, and the notes without the folder."""
    for name, content in more.items():
        (folder / f"{name}.txt").write_text(content)
    path = folder / "requirements.txt"
    path.write_text(text)
    wishes = gathered((), [path])
    return [str(ask) for ask in wishes.asks], tuple(note.replace(f"{folder}/", "") for note in wishes.notes)


def only(folder: Path, text: str) -> Ask:
    path = folder / "requirements.txt"
    path.write_text(text)
    (ask,) = gathered((), [path]).asks
    return ask


def mistakes(folder: Path, text: str) -> list[str]:
    path = folder / "requirements.txt"
    path.write_text(text)
    with pytest.raises(Unreadable) as caught:
        gathered((), [path])
    return [mistake.replace(f"{folder}/", "") for mistake in caught.value.mistakes]


def test_lines__names_versions_extras__are_asks(tmp_path: Path) -> None:
    asks, notes = read(tmp_path, "A_b\nc == 1.0\nd[X,y]>=2,<3\n\n  e~=1.1  \n")
    assert asks == ["a-b", "c==1.0", "d[x,y]<3,>=2", "e~=1.1"]
    assert notes == ()


def test_comments__whole_lines_and_ends__are_no_requirements(tmp_path: Path) -> None:
    assert read(tmp_path, "# all\na # why\n\t#b\nc\t# d\n")[0] == ["a", "c"]


def test_byte_order_mark__is_passed_over(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeffa\n")[0] == ["a"]


def test_continued_line__with_hashes__is_one_ask_that_stands_alone(tmp_path: Path) -> None:
    ask = only(tmp_path, f"# top\na==1 \\\n    --hash={SHA} \\\n    --hash {OTHER}\n    # via b\n")
    assert (str(ask), sorted(ask.hashes), ask.alone) == ("a==1", [SHA, OTHER], True)
    assert ask.where == f"{tmp_path}/requirements.txt:2"


def test_continued_line__last_of_the_file__counts(tmp_path: Path) -> None:
    assert read(tmp_path, "a==1 \\")[0] == ["a==1"]


def test_include__is_read_beside_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "more.txt").write_text("-r deep.txt\nb\n")
    (tmp_path / "sub" / "deep.txt").write_text("c\n")
    assert read(tmp_path, "-r sub/more.txt\n--requirement=sub/deep.txt\na\n")[0] == ["c", "b", "a"]


def test_include__of_itself__is_a_mistake_and_ends(tmp_path: Path) -> None:
    assert "include each other more than 20 deep" in mistakes(tmp_path, "-r requirements.txt\n")[0]


def test_include__that_is_not_there__is_named(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "-r gone.txt\n") == ["gone.txt: No such file or directory"]


def test_constraints__narrow_what_is_asked_for_and_ask_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "held.txt").write_text("a<2\nz==1\n")
    (tmp_path / "requirements.txt").write_text("-c held.txt\na>=1\nb\n")
    wishes = gathered(["a!=1.5"], [tmp_path / "requirements.txt"])
    assert [str(wishes.constrained(ask)) for ask in wishes.asks] == ["a!=1.5,<2", "a<2,>=1", "b"]
    assert {name: str(versions) for name, versions in wishes.constraints.items()} == {"a": "<2", "z": "==1"}


def test_options__of_indexes__are_noted_without_what_they_say(tmp_path: Path) -> None:
    text = "--index-url https://user:secret@index.example/\n-i https://x.example\n--pre\n--trusted-host=x\na\n"
    asks, notes = read(tmp_path, text)
    assert asks == ["a"]
    assert [note.split(" is ")[0] for note in notes] == [
        "requirements.txt: --index-url",
        "requirements.txt: -i",
        "requirements.txt: --pre",
        "requirements.txt: --trusted-host",
    ]
    assert "secret" not in "".join(notes)


@pytest.mark.parametrize(
    "line",
    [
        "-e .",
        "--editable=./lib",
        "./lib",
        "../lib/a-1.0.tar.gz",
        "/srv/a-1.0-py3-none-any.whl",
        "a-1.0-py3-none-any.whl",
        "https://index.example/a-1.0.tar.gz",
        "git+https://index.example/a.git@main",
        "a @ https://index.example/a-1.0.tar.gz",
    ],
)
def test_what_comes_from_no_index__is_noted(tmp_path: Path, line: str) -> None:
    asks, notes = read(tmp_path, f"{line}\nb\n")
    assert asks == ["b"]
    assert len(notes) == 1
    assert notes[0].startswith("requirements.txt:1: ")
    assert notes[0].endswith("passed over")


@pytest.mark.parametrize("marker", ["sys_platform == 'win32'", "python_version < '3.10'", "platform_machine=='arm64'"])
def test_marker__that_some_machine_meets__is_wanted(tmp_path: Path, marker: str) -> None:
    assert read(tmp_path, f"a; {marker}\n")[0] == ["a"]


@pytest.mark.parametrize("marker", ["python_version < '3'", "sys_platform == 'win32' and os_name == 'posix'"])
def test_marker__that_no_machine_meets__is_noted(tmp_path: Path, marker: str) -> None:
    asks, notes = read(tmp_path, f"a; {marker}\n")
    assert asks == []
    assert "a is wanted nowhere" in notes[0]


def test_mistakes__are_told_together_with_their_lines(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "a\n!!\nb==\nc --hash=md5:1\n") == [
        "requirements.txt:2: not a requirement: '!!'",
        "requirements.txt:3: not a requirement: 'b=='",
        "requirements.txt:4: not a hash: 'md5:1'",
    ]


def test_no_text__is_told(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Unreadable, match="is not text in UTF-8"):
        gathered((), [path])


def test_typed__requirements_and_files__come_together(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("b\n")
    assert [str(ask) for ask in gathered(["a[x]>1"], [path]).asks] == ["a[x]>1", "b"]
    with pytest.raises(Unreadable, match=r"^not a requirement: 'a b'$"):
        gathered(["a b"], ())
