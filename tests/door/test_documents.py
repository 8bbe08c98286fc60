"""companion.door.documents: JSON of others is a value of the type asked for, or a sentence."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict

from companion.door import Untrusted, printable
from companion.door.documents import parse_json, read_json
from needs import few_rights


@dataclass(frozen=True)
class Note:
    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    size: int
    parts: tuple[float, ...] = ()


def test_json_becomes_a_value_of_the_type() -> None:
    note = parse_json(Note, '{"name": "猫", "size": 3, "parts": [1, 2.5]}', "The note")
    assert note == Note("猫", 3, (1.0, 2.5))
    assert parse_json(Note, b'{"name": "", "size": 0}', "The note") == Note("", 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "invalid JSON"),
        ("{", "invalid JSON"),
        ("5", "input should be an object"),
        ("null", "input should be an object"),
        ("[]", "input should be an object"),
        ("[" * 100_000, "recursion limit"),
        ("9" * 100_000, "number out of range"),
        ("[" + "[]," * 2_000_000 + "[]]", "it holds more than 2,097,152 values"),
        ("[" + "1," * 3_000_000 + "1]", "it holds more than 2,097,152 values"),
        ('{"name": "a"}', "size: "),
        ('{"name": "a", "size": "1"}', "size: input should be a valid integer"),
        ('{"name": "a", "size": true}', "size: input should be a valid integer"),
        ('{"name": "a", "size": 1.0}', "size: input should be a valid integer"),
        ('{"name": null, "size": 1}', "name: input should be a valid string"),
        ('{"name": "a", "size": 1, "evil\\u001b[2J": 1}', r"evil\\x1b"),
        ('{"name": "\\ud800", "size": 1}', "invalid JSON"),
        ('{"name": "\udc80", "size": 1}', "it is no UTF-8"),
        (b'{"name": "\x80", "size": 1}', "invalid JSON"),
        ('{"name": "猫", "size": 1}' + 60 * " ", "longer than 80 bytes"),
    ],
)
def test_anything_else_is_one_sentence_that_says_where(text: str | bytes, says: str) -> None:
    limit = 80 if "猫" in str(text) else 10**7
    with pytest.raises(Untrusted, match=f"The note cannot be read: .*{says}") as caught:
        parse_json(Note, text, "The note", limit=limit)
    assert str(caught.value).endswith(".")
    assert str(caught.value) == printable(str(caught.value))
    assert len(str(caught.value)) < 300


def test_a_remedy_ends_the_sentence() -> None:
    with pytest.raises(Untrusted) as caught:
        parse_json(list, "{", "The note", remedy="fetch it again")
    assert str(caught.value).startswith("The note cannot be read (invalid JSON: EOF")
    assert str(caught.value).endswith("): fetch it again.")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(JSON.map(json.dumps) | st.text() | st.binary())
def test_whatever_comes_is_a_value_or_a_sentence(text: str | bytes) -> None:
    try:
        note = parse_json(Note, text, "The note")
    except Untrusted as error:
        said = str(error)
    else:
        said = f"The note cannot be read: not at all, it is {note}."
    assert said.startswith("The note cannot be read: ")
    assert said == printable(said)


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "note").write_text('{"name": "a", "size": 1}')
    assert read_json(Note, tmp_path / "note", "The note") == Note("a", 1)


def test_no_file_at_all_is_said(tmp_path: Path) -> None:
    for name in ("none", "none/none", "nu\0ll"):
        with pytest.raises((FileNotFoundError, Untrusted), match=r"no file|cannot be read"):
            read_json(Note, tmp_path / name, "The note")


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "circle", "long", "huge"])
def test_what_is_no_file_is_refused_and_does_not_hang(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "note"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "circle":
        path.symlink_to(path)
    elif kind == "long":
        path = tmp_path / ("a" * 300)
    else:
        with path.open("wb") as file:
            file.truncate(2**40)
    with pytest.raises(Untrusted, match="The note cannot be read: ") as caught:
        read_json(Note, path, "The note", limit=1000)
    assert str(caught.value).endswith(".")


@few_rights
def test_a_file_that_may_not_be_read_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "note"
    path.touch(mode=0)
    with pytest.raises(Untrusted, match=r"The note cannot be read: .*Permission denied\."):
        read_json(Note, path, "The note")


def test_the_types_of_the_standard_library_serve(tmp_path: Path) -> None:
    assert parse_json(dict[str, Any], '{"a": [1, null]}', "The note") == {"a": [1, None]}
