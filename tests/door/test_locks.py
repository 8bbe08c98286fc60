"""A lock is held, or taken by another, or there are none on this file system."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from companion.door.locks import acquire


def refusing(error: Exception) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise error

    return refuse


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    lock, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock", is_singleton=False)
    acquire(lock, blocking=False)
    assert lock.is_locked
    with pytest.raises(Timeout):
        acquire(other, blocking=False)
    lock.release()
    acquire(other, blocking=True)
    assert other.is_locked
    other.release()


@pytest.mark.parametrize(
    "error", [NotImplementedError(), OSError(errno.ENOLCK, ""), OSError(errno.ENOSYS, "")]
)
def test_without_locks_one_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    lock = FileLock(tmp_path / "lock")
    monkeypatch.setattr(FileLock, "acquire", refusing(error))
    acquire(lock, blocking=False)
    assert not lock.is_locked


def test_a_file_that_cannot_be_made_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileLock, "acquire", refusing(OSError(errno.EACCES, "no")))
    with pytest.raises(OSError, match="no"):
        acquire(FileLock(tmp_path / "lock"), blocking=False)
