"""Names, checksums and sizes from outside: what passes is safe, and nothing honest is lost."""

import os
import unicodedata
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.door import Checksum, Commit, RepositoryId, RepositoryPath, Size, Untrusted, inside
from companion.door.values import Unusable

few = settings(max_examples=150, deadline=None, derandomize=True)
# What attacks are made of, beside any text.
PIECES = st.sampled_from(
    ["..", ".", "/", "\\", "a", ".. ", "C:", "\0", "\x1b", "\u202e", "\u2028", "é", "e\u0301", "~"]
)
names = st.one_of(st.text(), st.lists(PIECES).map("".join), st.binary(), st.integers(), st.none())


def passed(kind: Any, value: Any) -> Any:
    """What passes, or None where one line says why it does not."""
    try:
        return kind(value)
    except Untrusted as error:
        sentence = str(error)
    assert sentence.isprintable()
    return None


@few
@given(names)
def test_a_name_that_passes_stays_in_its_folder_on_every_platform(name: Any) -> None:
    path = passed(RepositoryPath, name)
    if path is None:
        return
    folder = Path("/cache/snapshots/x")
    joined = Path(os.path.normpath(folder / path))
    assert joined != folder
    assert joined.is_relative_to(folder)
    for kind in (PurePosixPath, PureWindowsPath):
        assert not kind(path).is_absolute()
        assert not kind(path).drive
        assert ".." not in kind(path).parts
    assert path == unicodedata.normalize("NFC", path)
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in path)
    assert max(len(part.encode()) for part in path.split("/")) <= 255


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        ".gitattributes",
        "a..b/c...d",
        "data/train-00000-of-00001.parquet",
        "一只猫/图.png",
        "👩\u200d🎨.png",
        "❤\ufe0f",
        "می\u200cخواهم",
        "caf\u00e9 (1).png",
        "2024-01-01T00:00:00.json",
        "a" * 255,
    ],
)
def test_an_honest_name_passes(name: str) -> None:
    assert RepositoryPath(name) == name


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../x", "a/..", "..", "a\\b", "C:x", "a//b", "a/"]
)
def test_a_name_that_leads_out_is_no_name(name: str) -> None:
    with pytest.raises(Untrusted) as caught:
        RepositoryPath(name)
    assert caught.type is Untrusted


@pytest.mark.parametrize("name", ["a" * 256, "é" * 128, "e\u0301", "/".join(["abc"] * 300)])
def test_a_harmless_name_that_not_every_disk_takes_is_told_apart(name: str) -> None:
    with pytest.raises(Unusable):
        RepositoryPath(name)


@pytest.mark.parametrize(
    "part",
    [
        *("\u200b", "\u200b\u2060\ufeff", "\u00ad", "\u3164", "\uffa0", "\u2800", "\u180e"),
        *("\ufe0f", "\U000e0041", "\u034f", "\u3000", "\u00a0", ".\u200b", " .\u2002", "\u2065"),
    ],
)
def test_a_name_that_nobody_sees_is_told_apart_and_said_in_letters(part: str) -> None:
    for name in (part, f"unet/{part}", f"{part}/config.json"):
        with pytest.raises(Unusable, match="nobody sees what") as caught:
            RepositoryPath(name)
        assert ascii(part) in str(caught.value)


def test_windows_takes_fewer_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("companion.door.values.WINDOWS", True)
    for name in ("ab:c", "con", "a/NUL.txt", "b.", "c ", "what?"):
        with pytest.raises(Unusable, match="Windows"):
            RepositoryPath(name)
    assert RepositoryPath("unet/config.json")


@few
@given(st.one_of(names, st.from_regex(r"[0-9a-fA-F\n]{39,65}")))
def test_a_checksum_is_digits_and_nothing_else(digits: Any) -> None:
    found = passed(Checksum, digits) or "0" * 40
    assert len(found) in (40, 64)
    assert set(found) <= set("0123456789abcdef")


@pytest.mark.parametrize("end", ["", "\n", " ", "A"])
def test_a_commit_is_forty_digits(end: str) -> None:
    if not end:
        assert Commit("0" * 40) == "0" * 40
        return
    for kind in (Commit, Checksum):
        with pytest.raises(Untrusted):
            kind("0" * (40 if end.isspace() else 39) + end)


@few
@given(st.one_of(names, st.integers(), st.floats(), st.booleans()))
def test_a_size_is_a_whole_number_of_bytes(number: Any) -> None:
    size = passed(Size, number)
    if size is not None:
        assert 0 <= size <= 2**50
        assert type(number) is int


def test_a_sentence_about_something_deep_or_long_is_short() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, 10**10_000, "x" * 10**6, {"a": 1}):
        with pytest.raises(Untrusted) as caught:
            Size(value)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["a/b", "google/ddpm-cat-256", "me/a.b_c", "模型/猫"])
def test_an_id_passes(name: str) -> None:
    assert RepositoryId(name) == name


@pytest.mark.parametrize(
    "name",
    ["a", "a/b/c", "../b", "a/..", ".a/b", "a/b-", "a--b/c", "a..b/c", "a/b\n", None, "x" * 97],
)
def test_an_id_by_other_rules_than_the_hubs_is_none(name: Any) -> None:
    with pytest.raises(Untrusted, match="no id of the hub"):
        RepositoryId(name)


@few
@given(st.lists(PIECES).map("".join))
def test_inside_is_inside(name: str) -> None:
    folder = Path("/cache/models--a--b")
    with suppress(Untrusted):
        assert Path(os.path.normpath(inside(folder, name))).is_relative_to(folder)
