"""Files of ours are made new, in their folder, and not through a link."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from companion.door import Untrusted, append_to, create, inside
from companion.door.places import clear, is_ours, open_plain, read, replace
from needs import few_rights


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


WRITES = """
import os, signal, sys
from pathlib import Path
from companion.door import places
def stopped(*_):
    print("at work", flush=True)
    os.kill(os.getpid(), signal.Signals[sys.argv[2]])
    return os.rename(*_)
Path.replace = stopped
places.replace(Path(sys.argv[1]), b"theirs")
"""


@pytest.fixture
def writer(folder: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a process that gets a signal when it has written all of a file but its name."""
    started = []

    def start(signal: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITES, str(folder / "theirs"), signal]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signals")
def test_what_a_killed_writer_left_is_cleared_by_the_next_one(folder: Path, writer: Any) -> None:
    (folder / ".companion-mine.tmp").write_bytes(b"a reader's")
    writer("SIGKILL").wait()
    assert len(list(folder.iterdir())) == 2
    replace(folder / "x", b"mine")
    assert sorted(path.name for path in folder.iterdir()) == [".companion-mine.tmp", "x"]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signals")
def test_what_a_living_writer_has_not_finished_stays(folder: Path, writer: Any) -> None:
    process = writer("SIGSTOP")
    os.waitpid(process.pid, os.WUNTRACED)
    replace(folder / "x", b"mine")
    process.send_signal(signal.SIGCONT)
    assert process.wait() == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "x": b"mine",
        "theirs": b"theirs",
    }


@pytest.mark.skipif(os.name != "posix", reason="Windows has no flock")
def test_a_folder_that_another_program_holds_is_written(folder: Path) -> None:
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    command = (
        "import sys, pathlib, companion.door.places as p; p.replace(pathlib.Path(sys.argv[1]), b'')"
    )
    try:
        subprocess.run([sys.executable, "-c", command, str(folder / "x")], check=True, timeout=30)
    finally:
        os.close(handle)
    assert [path.name for path in folder.iterdir()] == ["x"]


@few_rights
def test_a_folder_that_may_be_written_but_not_looked_into_is_written(folder: Path) -> None:
    folder.chmod(0o300)
    replace(folder / "x", b"mine")
    assert (folder / "x").read_bytes() == b"mine"
    folder.chmod(0o700)
