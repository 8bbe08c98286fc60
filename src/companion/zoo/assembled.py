"""A model that shares parts with others, put together once as the one folder `from_pretrained`
wants."""

import shutil
import tempfile
from hashlib import sha256 as digest_of
from pathlib import Path

from .registry import WEIGHTS, Entry, entries, sha256


def assembled(model: Entry) -> Path:
    """The model's whole folder, copied together in the folder of the hub's cache (HF_HOME).

    Later calls find it there. Its name says which files are in it, and every file is checked
    against its SHA-256 each time; a folder with a fault is made anew.

    Raises:
        FileNotFoundError: files are missing from this installation, or damaged.
        PermissionError: the cache cannot be written.
    """
    from huggingface_hub.constants import HF_HOME

    sources = _sources(model)
    key = digest_of(repr(sorted((name, kept) for name, (_, kept) in sources.items())).encode())
    home = Path(HF_HOME) / "diffusers-notes"
    whole = home / f"{model.name}-{key.hexdigest()[:16]}"
    if _is_whole(whole, sources):
        return whole
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home, prefix=f"{model.name}-") as scratch:
            fresh = Path(scratch) / "fresh"
            for name, (source, _) in sources.items():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, fresh / name)
            if not _is_whole(fresh, sources):
                raise FileNotFoundError(
                    f"Files of the zoo's {model.name} are damaged; install diffusers-notes again."
                )
            # Another process may have been faster; a folder with a fault makes way.
            if whole.exists() and not _is_whole(whole, sources):
                whole.replace(Path(scratch) / "faulty")
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
        one.path / name: kept for one in entries().values() for name, kept in one.sha256.items()
    }
    found = {name: (model.path / name, kept) for name, kept in model.sha256.items()}
    for part, place in model.shared.items():
        for path, kept in registered.items():
            if path.is_relative_to(WEIGHTS / place):
                found[f"{part}/{path.relative_to(WEIGHTS / place).as_posix()}"] = (path, kept)
    missing = [path for path, _ in found.values() if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"{missing[0]}, a file of the zoo's {model.name}, is missing; install diffusers-notes "
            "again."
        )
    return found


def _is_whole(folder: Path, sources: dict[str, tuple[Path, str]]) -> bool:
    return all(
        (folder / name).is_file() and sha256(folder / name) == kept
        for name, (_, kept) in sources.items()
    )


def _put(fresh: Path, whole: Path) -> None:
    """Move a folder into place in one stroke, unless another process just did."""
    try:
        fresh.replace(whole)
    except OSError:
        if not whole.exists():
            raise
