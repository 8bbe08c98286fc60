"""Datasets, of the hub or of a folder: which split, and each row's picture as bytes or a file of
the dataset's own."""

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from companion.door import Untrusted, printable, without_password
from companion.door.documents import read_json
from companion.door.pictures import Packed, Source
from companion.door.places import read
from companion.hub import HubError, fetch, find_endpoint
from companion.hub.errors import explain
from companion.hub.retry import PASSING
from companion.hub.tokens import may_be_told, token_for
from companion.local_hub.cache_layout import storage_name

from .walk import TABLES

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

Named = tuple[str, Callable[[], Source]]  # a picture's name, and where its bytes are
# In a path these are no names to the library of datasets, but a pattern or an address.
_PATTERN, _ADDRESS = re.compile(r"[*?[]"), re.compile("::")
_STORAGE = storage_name("dataset", "")  # how the folder of a dataset in the hub's cache is called
_IN_A_ZIP = re.compile(r"zip://(?P<member>.+?)::(?P<archive>.+)")


def hub_dataset(
    name: str, *, config_name: str | None = None, split: str | None = None
) -> tuple[Iterator[Named], int]:
    """The pictures of a dataset of the hub; where it cannot be had, of what was fetched of it.

    Raises:
        FileNotFoundError: it is neither there nor here; the sentence has the cause.
        ValueError: there is no such split or configuration, or no column of pictures.
    """
    import datasets

    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise FileNotFoundError(
            f"{printable(name)!r} is neither a folder here nor the id of a dataset, such as "
            "huggan/flowers-102-categories."
        )
    problem = _problem(name)
    if problem is None or _loaded_before(name):
        try:
            whole = _prepared(
                name,
                config_name,
                own=lambda path: path.startswith(f"hf://datasets/{name}@"),
                token=token_for(find_endpoint(datasets.config.HF_ENDPOINT), may_be_told()),
            )
        except _Wrong as error:
            raise ValueError(f"The dataset {name} cannot be used: {error}") from error
        except Exception as error:  # one of dozens of kinds, from five libraries
            problem = problem or _first_line(error)
        else:
            return _rows(_one_split(whole, name, split), name, [_storage(name)])
    folder = _fetched(name)
    if folder is None:
        raise FileNotFoundError(
            f"The dataset {name} is neither a folder here nor could it be loaded from the hub: "
            f"{problem}"
        )
    if not datasets.config.HF_HUB_OFFLINE:
        warnings.warn(
            f"{problem} What was fetched of {name} is used, {folder}.",
            stacklevel=4,
        )
    return folder_dataset(folder, name, config_name=config_name, split=split)


def folder_dataset(
    folder: Path, name: str, *, config_name: str | None = None, split: str | None = None
) -> tuple[Iterator[Named], int]:
    """The pictures of a folder that a dataset was saved in, or of one file of such a folder.

    Raises:
        ValueError: as `hub_dataset`; or the library cannot read it.
    """
    from datasets import load_from_disk

    odd = (_ADDRESS if is_saved(folder) else _PATTERN).search(str(folder.resolve()))
    odd = odd or _ADDRESS.search(str(folder.resolve()))
    if odd:
        raise ValueError(
            f"The dataset {name} cannot be used: its path holds {odd[0]}, which the datasets "
            "library does not take for a part of a name; rename that folder or file."
        )
    # A snapshot's files are links to the files of the whole repository.
    inside = _in_the_cache(folder) or (folder if folder.is_dir() else folder.parent)
    try:
        if is_saved(folder):
            _check_saved(folder, inside)
            whole = load_from_disk(str(folder))
        elif folder.is_dir():
            whole = _prepared(
                str(folder.resolve()), config_name, own=lambda path: _within(path, [str(inside)])
            )
        else:
            whole = _prepared(
                TABLES[folder.suffix.lower()],
                config_name,
                own=lambda path: _within(path, [str(folder)]),
                data_files={"train": str(folder.resolve())},
            )
    except _Wrong as error:
        raise ValueError(f"The dataset {name} cannot be used: {error}") from error
    except Exception as error:  # pyarrow's, pandas', zipfile's
        reason = _first_line(error).rstrip(".")
        raise ValueError(
            f"The dataset {name} cannot be used ({reason}): see to it that its files are whole, or "
            "fetch it anew."
        ) from error
    return _rows(_one_split(whole, name, split), name, [inside])


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote it."""
    return (folder / "dataset_dict.json").is_file() or all(
        (folder / name).is_file() for name in ("dataset_info.json", "state.json")
    )


def is_snapshot(folder: Path) -> bool:
    """Whether it is a version of a dataset in the cache of the hub's library."""
    return _in_the_cache(folder) == folder.resolve().parent.parent


def snapshot_of(folder: Path) -> Path:
    """Of a dataset's place in that cache the version that it would be asked for; else the folder.

    Raises:
        ValueError: there are several, and it does not say which.
    """
    storage = folder.resolve()
    if storage.name == "snapshots":
        storage = storage.parent
    if not storage.name.startswith(_STORAGE) or not (storage / "snapshots").is_dir():
        return folder
    with suppress(OSError, ValueError):
        commit = read(storage / "refs" / "main", 64).decode()
        if re.fullmatch("[0-9a-f]{40}", commit) and (storage / "snapshots" / commit).is_dir():
            return storage / "snapshots" / commit
    versions = sorted(path for path in (storage / "snapshots").iterdir() if path.is_dir())
    if len(versions) > 1:
        raise ValueError(
            f"The folder {printable(str(folder))} holds {len(versions)} versions of a dataset: "
            f"give one of them, such as {printable(str(versions[0]))}."
        )
    return versions[0] if versions else folder


def _in_the_cache(place: Path) -> Path | None:
    """The place of a dataset in that cache, of which a folder or a file is a part."""
    place = place.absolute() if place.is_file() else place.resolve()  # a file there is a link
    for above in place.parents:
        if above.name == "snapshots" and above.parent.name.startswith(_STORAGE):
            return above.parent
    return None


class _Wrong(ValueError):
    """The dataset is there, and something about it is wrong."""


@dataclass
class _Splits:
    splits: list[str]


@dataclass
class _File:
    filename: str


@dataclass
class _State:
    files: Annotated[list[_File], Field(validation_alias="_data_files")]


def _check_saved(folder: Path, inside: Path) -> None:
    """Refuse a saved dataset whose notes name other files than its own."""
    splits = folder / "dataset_dict.json"
    if splits.is_file():
        names = read_json(_Splits, splits, splits.name).splits
    else:
        state = read_json(_State, folder / "state.json", "state.json")
        names = [one.filename for one in state.files]
    if not names:
        raise _Wrong("it holds no data: give the folder of another.")
    for name in names:
        path = folder / name
        if not _within(str(path), [str(inside)]) or path == folder:
            raise _Wrong(f"it names {printable(name)}, which is no file of the dataset.")
        if not (path.is_dir() if splits.is_file() else path.is_file()):
            raise _Wrong(f"its file {printable(name)} is missing: copy or fetch it anew.")
        if splits.is_file():
            _check_saved(path, inside)


def _prepared(
    source: str, config_name: str | None, *, own: Callable[[str], bool], **options: Any
) -> "DatasetDict":
    """What `load_dataset` gives, whose files were looked at before they are read."""
    from datasets import DatasetDict, get_dataset_config_names, load_dataset_builder

    try:
        builder = load_dataset_builder(source, config_name, **options)
    except ValueError as error:
        if config_name is None and "Config name is missing" not in str(error):
            raise
        names = get_dataset_config_names(source, **options)
        if config_name in names:
            raise
        raise _Wrong(
            f"its configurations are {', '.join(map(printable, names))}: choose one with "
            "dataset_config_name."
        ) from error
    files = getattr(builder.config, "data_files", None) or {}
    for path in (str(one) for several in files.values() for one in several):
        # A card may name any file of the reader's, or of another host.
        if not own(path):
            raise _Wrong(f"its card names {printable(path)}, which is no file of the dataset.")
    with _silent():
        builder.download_and_prepare()
    splits = builder.info.splits or {}
    filled = [split for split, about in splits.items() if about.num_examples]
    if not filled:
        raise _Wrong("it has no rows: give one that has pictures.")
    return DatasetDict({split: builder.as_dataset(split=split) for split in filled})


@contextmanager
def _silent() -> Iterator[None]:
    """The library writes what is wrong into its log before it raises it."""
    log = logging.getLogger("datasets")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _one_split(whole: "Dataset | DatasetDict", name: str, split: str | None) -> "Dataset":
    from datasets import DatasetDict

    if not isinstance(whole, DatasetDict):
        if split is not None:
            raise ValueError(f"The dataset {name} has no splits: leave dataset_split out.")
        return whole
    there = ", ".join(map(printable, whole))
    if split is None and "train" not in whole and len(whole) == 1:
        warnings.warn(f"The dataset {name} has one split only, {there}: it is used.", stacklevel=6)
        return next(iter(whole.values()))
    wanted = split or "train"
    if wanted not in whole:
        raise ValueError(
            f"The dataset {name} has no split {wanted}, only {there}: choose one with "
            "dataset_split."
        )
    return whole[wanted]


def _rows(dataset: "Dataset", name: str, inside: list[Path]) -> tuple[Iterator[Named], int]:
    return named_pictures(dataset, name, inside), len(dataset)


def named_pictures(dataset: "Dataset", name: str, inside: list[Path]) -> Iterator[Named]:
    """Name and source of each picture of a dataset.

    Args:
        dataset: one with a column of pictures.
        name: how sentences call it.
        inside: folders that hold the dataset's own files; a row that names another file is refused.

    Raises:
        ValueError: the dataset has no column of pictures.
    """
    import datasets

    columns = [key for key, kind in dataset.features.items() if isinstance(kind, datasets.Image)]
    if not columns:
        there = printable(", ".join(dataset.features))
        raise ValueError(f"The dataset {name} has no column of pictures, only: {there}.")
    column = columns[0]
    if len(columns) > 1:
        others = printable(", ".join(columns[1:]))
        warnings.warn(
            f"Of the dataset {name} the pictures of the column {printable(column)} are used, not: "
            f"{others}.",
            stacklevel=7,
        )
    raw = dataset.select_columns(column).cast_column(column, datasets.Image(decode=False))
    raw = raw.with_format("arrow")  # a row's bytes are looked at where they lie, not copied
    # What the library unpacked or fetched for a dataset lies in a folder of its own.
    allowed = [*map(str, inside), str(datasets.config.DOWNLOADED_DATASETS_PATH)]

    def source(row: int) -> Callable[[], Source]:
        return lambda: _source(raw[row][column][0], allowed, f"{name}, row {row},")

    return ((f"{name}, row {row},", source(row)) for row in range(len(raw)))


def _source(found: Any, allowed: list[str], what: str) -> Source:
    content, path = found["bytes"].as_buffer(), found["path"].as_py()
    if content:
        return memoryview(content)
    if not path:
        raise Untrusted(f"{what} holds no picture.")
    packed = _IN_A_ZIP.fullmatch(path)
    file = packed["archive"] if packed else path
    if not _within(file, allowed):
        raise Untrusted(f"{what} names the file {printable(path)}, which is none of the dataset's.")
    return Packed(Path(file), packed["member"]) if packed else Path(file)


def _within(path: str, folders: list[str]) -> bool:
    if "://" in path:  # to the system it would be a name in the working folder
        return False
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(os.path.realpath(folder)) for folder in folders)


def _storage(name: str) -> Path:
    """Where the hub's library keeps a dataset."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, storage_name("dataset", name))


def _fetched(name: str) -> Path | None:
    """What `companion fetch` or the hub's library has brought of a dataset, if it is whole."""
    try:
        return fetch(f"datasets/{name}", where="offline")[name]
    except (HubError, ValueError, KeyError, OSError):
        return None


def _problem(name: str) -> str | None:
    """Why the hub does not give a dataset, in a sentence with the remedy; None where it does.

    The library asks again and again before it says so, and then not why.
    """
    import datasets
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    endpoint = find_endpoint(datasets.config.HF_ENDPOINT)
    try:
        if datasets.config.HF_HUB_OFFLINE:
            raise OfflineModeIsEnabled
        HfApi(endpoint=endpoint.address, token=token_for(endpoint, may_be_told())).dataset_info(
            name, timeout=30
        )
    except Exception as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code in PASSING:
            return None
        return str(explain(error, endpoint, f"datasets/{name}"))
    return None


def _loaded_before(name: str) -> bool:
    """Whether the library has a dataset in its own cache."""
    import datasets
    from datasets.naming import camelcase_to_snakecase

    folder = "___".join([*name.split("/")[:-1], camelcase_to_snakecase(name.split("/")[-1])])
    return Path(datasets.config.HF_DATASETS_CACHE, folder).is_dir()


def _first_line(error: BaseException) -> str:
    if type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, StopIteration):
        return "there is nothing in it."
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return printable(without_password(lines[0].rstrip("."))) + "."
