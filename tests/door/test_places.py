"""Files of ours are made new, in their folder, and not through a link."""

import os
from pathlib import Path

import pytest

from companion.door import Untrusted, append_to, create, inside
from companion.door.places import clear, is_ours, open_plain, read, replace


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Somebody's file outside the folder."""
    file = tmp_path / "other"
    file.write_bytes(b"precious")
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "folder"
    place.mkdir()
    return place


@pytest.mark.parametrize("name", ["../x", "..", "a/../../x", "/etc/passwd", ""])
def test_outside_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(Untrusted, match="is not inside"):
        inside(folder, name)


def test_a_link_on_the_way_may_lead_around_in_the_folder_only(folder: Path, tmp_path: Path) -> None:
    (folder / "real").mkdir()
    (folder / "within").symlink_to("real")
    (folder / "out").symlink_to(tmp_path)
    (folder / "round").symlink_to("round")
    assert inside(folder, "within", "x") == folder / "within/x"
    for name in ("out", "round"):
        with pytest.raises(Untrusted):
            inside(folder, name, "x")


def test_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    """A reader may have moved a cache to a larger disk."""
    (tmp_path / "moved").symlink_to(folder)
    assert inside(tmp_path / "moved", "a", "x")


@pytest.mark.parametrize("make", [Path.symlink_to, Path.hardlink_to])
def test_nothing_is_written_through_a_link(folder: Path, other: Path, make: object) -> None:
    place = folder / "x"
    make(place, other)  # type: ignore[operator]
    with pytest.raises(FileExistsError):
        create(place)
    with pytest.raises(Untrusted):
        append_to(place)
    assert not is_ours(place)
    replace(place, b"mine")
    assert place.read_bytes() == b"mine"
    assert not place.is_symlink()
    assert other.read_bytes() == b"precious"


def test_what_is_cleared_is_the_link_and_not_the_file(folder: Path, other: Path) -> None:
    (folder / "x").symlink_to(other)
    (folder / "mine").write_bytes(b"mine")
    clear(folder / "x")
    clear(folder / "mine")
    clear(folder / "nothing")
    assert [path.name for path in folder.iterdir()] == ["mine"]
    assert other.read_bytes() == b"precious"


def test_a_replacement_that_fails_leaves_the_old_file_and_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "x").write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        replace(folder / "x", b"new")
    assert [path.read_bytes() for path in folder.iterdir()] == [b"old"]


def test_a_pipe_a_folder_and_a_device_are_no_files_to_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    for place in (folder / "pipe", folder, Path("/dev/zero")):
        with pytest.raises(Untrusted):
            open_plain(place)


def test_a_file_is_read_up_to_a_limit(folder: Path) -> None:
    (folder / "x").write_bytes(b"12345")
    assert read(folder / "x", 5) == b"12345"
    with pytest.raises(Untrusted, match="longer than 4 bytes"):
        read(folder / "x", 4)
