"""The folder of a model for `from_pretrained`: its own, or one put together once of parts that it
shares with others."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256 as digest_of
from pathlib import Path

from companion.door import is_file
from companion.door.locks import acquire

from .registry import WEIGHTS, Entry, entries, entry, faults, files_in, is_registered

SCRATCH = ".new-"
_OURS = re.compile(rf"{re.escape(SCRATCH)}[a-z0-9_]{{8}}")
# What a killed process of an earlier version left: its names had nothing else that tells.
_EARLIER = re.compile(rf"({'|'.join(entries())})-[a-z0-9_]{{8}}")
_EARLIER_SECONDS = 3600


def folder(name: str) -> Path:
    """The folder of a model, for `from_pretrained`; one that shares parts with others is put
    together the first time.

    Each time, every file is checked against its SHA-256, and files that a loader might take in
    its place are refused.

    Raises:
        ValueError: no such model.
        FileNotFoundError: its files are missing from this installation, or damaged, or others are
            among them.
        PermissionError: it shares parts, and the cache where it is put together cannot be written.
    """
    model = entry(name)
    if model.shared:
        return _assembled(model)
    for fault in faults(name):
        raise FileNotFoundError(f"The zoo's {fault.text}, in {model.path}; {fault.remedy}.")
    return model.path


def _assembled(model: Entry) -> Path:
    """The model's whole folder, copied together in the folder of the hub's cache (HF_HOME).

    Later calls find it there. Its name says which files are in it. It holds these and nothing
    else, and every file is checked against its SHA-256 each time; a folder with a fault is made
    anew, and what is not ours in it is moved aside.

    Raises:
        FileNotFoundError: files are missing from this installation, or damaged.
        PermissionError: the cache cannot be read, or not written.
    """
    from huggingface_hub.constants import HF_HOME

    from companion.hub.environment import home_fault, is_unknown  # most models need none of it

    sources = _sources(model)
    key = digest_of(repr(sorted((name, kept) for name, (_, kept) in sources.items())).encode())
    home = Path(HF_HOME) / "diffusers-notes"
    if is_unknown(home) and (fault := home_fault()):
        raise PermissionError(f"The zoo's {model.name} is put together in HF_HOME. {fault}")
    whole = home / f"{model.name}-{key.hexdigest()[:16]}"
    try:
        if _is_whole(whole, sources):
            return whole
        home.mkdir(parents=True, exist_ok=True)
        with _locked(home), tempfile.TemporaryDirectory(dir=home, prefix=SCRATCH) as scratch:
            fresh = Path(scratch) / "fresh"
            for name, (source, _) in sources.items():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, fresh / name)
            if not _is_whole(fresh, sources):
                raise FileNotFoundError(
                    f"Files of the zoo's {model.name} are damaged; install diffusers-notes again."
                )
            # Another process may have been faster; a folder with a fault makes way.
            if os.path.lexists(whole) and not _is_whole(whole, sources):
                _move_aside(whole, set(sources))
            if not whole.exists():
                _put(fresh, whole)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PermissionError(
            f"The zoo's {model.name} is put together in {home}, which cannot be written "
            f"({error.strerror}); set HF_HOME to a folder that can, before Python starts."
        ) from error
    return whole


def _sources(model: Entry) -> dict[str, tuple[Path, str]]:
    """Where every file of the whole folder comes from, and its SHA-256, by its name in there."""
    registered = {
        other.path / name: kept
        for other in entries().values()
        for name, kept in other.sha256.items()
    }
    found = {name: (model.path / name, kept) for name, kept in model.sha256.items()}
    for part, home in model.shared.items():
        for path, kept in registered.items():
            if path.is_relative_to(WEIGHTS / home):  # a folder, or one file
                name = Path(part, path.relative_to(WEIGHTS / home)).as_posix()
                found[name] = (path, kept)
    missing = [path for path, _ in found.values() if not is_file(path)]
    if missing:
        raise FileNotFoundError(
            f"{missing[0]}, a file of the zoo's {model.name}, is missing; install diffusers-notes "
            "again."
        )
    return found


def _is_whole(folder: Path, sources: dict[str, tuple[Path, str]]) -> bool:
    """Whether it holds these files as they are registered, and nothing else, not even a link."""
    if folder.is_symlink() or set(files_in(folder)) != set(sources):
        return False
    return all(
        not (folder / name).is_symlink() and is_registered(folder / name, kept)
        for name, (_, kept) in sources.items()
    )


def _put(fresh: Path, whole: Path) -> None:
    """Move a folder into place in one stroke, unless another process just did."""
    try:
        fresh.replace(whole)
    except OSError:
        if not whole.exists():
            raise


def _move_aside(whole: Path, ours: set[str]) -> None:
    """Make room for the folder: its own files are removed, a reader's stay in a folder beside."""
    aside = Path(tempfile.mkdtemp(dir=whole.parent, prefix=f"{whole.name}-aside-"))
    old = aside / whole.name
    whole.replace(old)
    if not old.is_symlink():
        for name in ours & set(files_in(old)):
            (old / name).unlink()
        for folder, _, _ in os.walk(old, topdown=False):
            with suppress(OSError):  # there is something in it, or it is a file
                Path(folder).rmdir()
    with suppress(OSError):
        aside.rmdir()


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """One process at a time; it clears away what killed ones left half made."""
    from filelock import FileLock

    lock = FileLock(home / ".lock")
    acquire(lock, blocking=True)
    try:
        for path in home.iterdir() if lock.is_locked else ():  # else nobody knows who is at work
            if _is_half_made(path):
                shutil.rmtree(path, ignore_errors=True)
        yield
    finally:
        lock.release()


def _is_half_made(path: Path) -> bool:
    """Whether a process that was killed left it; asked while none is at work."""
    if path.is_symlink() or not path.is_dir():
        return False
    earlier = _EARLIER.fullmatch(path.name) and (
        time.time() - path.stat().st_mtime > _EARLIER_SECONDS
    )
    with suppress(OSError):
        parts = {part.name for part in path.iterdir()}
        ours = parts and parts <= {"fresh", "faulty"}  # an empty one may be anybody's
        return bool(ours and (earlier or _OURS.fullmatch(path.name)))
    return False
