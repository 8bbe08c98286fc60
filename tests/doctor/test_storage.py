"""Disks and the cache's place."""

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from companion.doctor import Finding, Verdict, storage
from companion.hub import environment

# Root writes everywhere but here.
NOWHERE = Path("/proc/1")


def the_cache() -> Finding:
    (finding,) = storage.check_cache()
    return finding


def the_disk() -> Finding:
    (finding,) = storage.check_disk()
    return finding


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB that is full; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here: not root")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        (folder / "filling").write_bytes(b"\0" * 2_000_000)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_an_empty_cache_is_good_and_shows_its_place() -> None:
    finding = the_cache()
    assert finding.verdict is Verdict.GOOD
    assert finding.text.startswith("~/.cache/huggingface/hub, ")
    assert not (Path.home() / ".cache").exists()  # looking makes no folders


def test_the_cache_is_looked_for_where_the_hub_library_puts_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HOME", "~/elsewhere")
    assert environment.cache() == Path.home() / "elsewhere" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "own"))
    assert environment.cache() == tmp_path / "own"


@pytest.mark.skipif(not NOWHERE.exists(), reason="needs /proc")
def test_a_home_that_cannot_be_written_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(NOWHERE / "hf"))
    finding = the_cache()
    assert finding.verdict is Verdict.PROBLEM
    assert "cannot be written to" in finding.text
    assert finding.remedy.startswith("export HF_HOME=")


def test_a_file_in_place_of_the_cache_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file"))
    assert the_cache().verdict is Verdict.PROBLEM


def test_a_full_disk_is_a_problem(full_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(full_disk / "hf"))
    assert "the disk is full" in the_cache().text
    with monkeypatch.context() as there:  # and out again, or it could not be taken away
        there.chdir(full_disk)
        finding = the_disk()
    assert finding.verdict is Verdict.PROBLEM
    assert finding.remedy.startswith("free some room: du -xsh")


def test_a_disk_without_a_temporary_folder_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_found() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", none_found)
    assert "TMPDIR" in the_disk().remedy


def test_autodl_with_the_cache_on_the_system_disk_is_a_warning(
    full_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "AUTODL_DATA_DISK", full_disk)  # any other disk
    finding = the_cache()
    assert finding.verdict is Verdict.WARNING
    assert finding.remedy == f"export HF_HOME={full_disk}/huggingface, before Python starts"


def test_too_little_room_for_the_full_profile_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: small)
    assert the_cache().verdict is Verdict.GOOD
    monkeypatch.setenv("COMPANION_PROFILE", "full")
    assert the_cache().verdict is Verdict.PROBLEM


def test_models_in_the_cache_need_no_room(tmp_path: Path) -> None:
    before = storage.missing_models(tmp_path)
    folder = "models--CompVis--stable-diffusion-v1-4/snapshots/133a221"
    (tmp_path / folder).mkdir(parents=True)
    gone = set(before) - set(storage.missing_models(tmp_path))
    assert gone == {"CompVis/stable-diffusion-v1-4"}


def test_a_working_folder_that_is_gone_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    finding = the_disk()
    assert finding.verdict is Verdict.PROBLEM
    assert "the working folder is gone" in finding.text
    assert finding.remedy.startswith("cd ")


def test_a_home_that_is_a_file_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    assert the_cache().text == f"{tmp_path}/file is a file"
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert the_cache().text == "~ is a file"


@pytest.mark.skipif(not NOWHERE.exists(), reason="needs /proc")
def test_a_cache_that_can_only_be_read_is_good_when_all_is_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(NOWHERE))
    monkeypatch.setattr(storage, "missing_models", lambda cache: {})
    finding = the_cache()
    assert finding.verdict is Verdict.GOOD
    assert "can only be read, and has all" in finding.text


def test_without_a_home_folder_paths_are_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unknown(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    assert storage.short(tmp_path) == str(tmp_path)
