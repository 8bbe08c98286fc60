"""Model folders of others: looked through before a library loads them, and safetensors only.

Diffusers and transformers build what a folder's settings say before they look at its weights, and
where they find no safetensors they take a pickle, which may run code. So both are looked at first.
"""

from __future__ import annotations

import inspect
import math
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import transformers
from safetensors import SafetensorError, safe_open
from transformers.feature_extraction_utils import FeatureExtractionMixin
from transformers.image_processing_base import ImageProcessingMixin

from .documents import read_json
from .places import inside
from .text import printable
from .values import RepositoryPath, Untrusted

INDEX = "model_index.json"
# Kinds of parts, each with the weights' name without ".safetensors"; None where it has none.
KINDS: dict[type, str | None] = {
    diffusers.ModelMixin: "diffusion_pytorch_model",
    transformers.PreTrainedModel: "model",
    diffusers.SchedulerMixin: None,
    transformers.PreTrainedTokenizerBase: None,
    transformers.ProcessorMixin: None,
    FeatureExtractionMixin: None,
    ImageProcessingMixin: None,
}
# Names of before transformers 5, which Diffusers and companion.autopipeline replace.
OLD = re.compile(r"[A-Z]\w*FeatureExtractor")
# What other programs save weights as. PyTorch's are pickles, which may run code when read.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
OTHERS = (".msgpack", ".onnx", ".h5", ".gguf")
# Settings that have a model loaded from elsewhere than its own weights, or run code of its own.
ELSEWHERE = ("auto_map", "transformers_weights")
# Settings that say how many parts are built one behind or within the other: each has weights.
COUNTS = re.compile(r"layers|blocks|experts|depths?$")
NESTED = ("layers_per_block", "transformer_layers_per_block", "down_block_types")
SIDES = re.compile(r"(sample|image|pos_embed_max)_size")
LONGEST_SIDE = 4096
LARGEST = 10**6  # the largest number in the settings of a part without weights


@dataclass(frozen=True)
class _Shards:
    """An index of weights in several files: which tensor is where."""

    weight_map: dict[str, str]


def check_model_folder(folder: Path) -> None:
    """Look through a folder in the Diffusers layout before `from_pretrained` reads it.

    Links are followed wherever they lead, as the hub's cache consists of them and readers share
    parts by them; a stranger's archive with a link in it gets no further than to a model's weights.

    Raises:
        Untrusted: it is no such folder, a part of it is no class of diffusers or transformers or
            has no safetensors, or its settings are nonsense; the sentence says which file, and what
            to do.
    """
    if not _is_folder(folder):
        raise Untrusted(f"There is no folder {_shown(folder)}: give one that holds a {INDEX}.")
    if not _is_file(folder / INDEX):
        raise Untrusted(
            f"{_shown(folder)} is no model that can be drawn with: it holds no {INDEX}. Give the "
            "folder above, or another one."
        )
    for name, kind in check_index(folder / INDEX).items():
        _check_part(folder, name, kind)


def check_weights(pipe: Any, folder: Path) -> None:
    """Look at what the libraries loaded: where a weight is missing, Diffusers leaves an empty one
    behind, and transformers one of random numbers.

    Raises:
        Untrusted: a weight is missing.
    """
    for name, part in pipe.components.items():
        weights: dict[str, Any] = getattr(part, "state_dict", dict)()
        lacking = [weight for weight, value in weights.items() if getattr(value, "is_meta", False)]
        if isinstance(part, transformers.PreTrainedModel):
            stem = KINDS[transformers.PreTrainedModel]
            assert stem
            home = folder / name if _is_folder(folder / name) else folder
            lacking += _lacking(weights, _check_weights(name, home, stem)[0])
        if lacking:
            raise Untrusted(
                f"The weights of the {name} in {_shown(folder)} lack {_shown(lacking[0])}, among "
                "others: fetch the model again."
            )


def _lacking(weights: dict[str, Any], stored: set[str]) -> list[str]:
    """The weights of a model that no stored tensor has filled.

    Versions of transformers differ in whether names begin with that of the model within. Where one
    has other names altogether, nothing can be told, and none is given.
    """
    # Weights that are one and the same in memory are stored once.
    same = {name: value.data_ptr() for name, value in weights.items()}
    stored = {name for name in stored if not name.endswith("position_ids")}  # of old versions

    def within(name: str) -> str:
        return name.partition(".")[2]

    for ours, theirs in (
        (same, stored),
        (same, {within(name) for name in stored}),
        ({within(name): memory for name, memory in same.items()}, stored),
    ):
        if theirs <= ours.keys():
            filled = {ours[name] for name in theirs}
            return [name for name, memory in ours.items() if memory not in filled]
    return []


def check_index(path: Path) -> dict[str, type | None]:
    """Look through a model_index.json alone, as before the rest of a model is fetched.

    Returns:
        The kind of each part, of KINDS; None for one of a name that transformers 5 has no more.

    Raises:
        Untrusted: as `check_model_folder`.
        FileNotFoundError: there is none.
    """
    index = _read(path)
    parts = {
        name: index[name]
        for name in inspect.signature(_pipeline(path, index)).parameters
        if isinstance(index.get(name), list)
    }
    return {
        name: _kind_of(path, name, part)
        for name, part in parts.items()
        if part[:1] != [None]  # left out when it was saved
    }


def _pipeline(path: Path, index: dict[str, Any]) -> type:
    """The class that the model names."""
    name = index.get("_class_name")
    found = _named(diffusers, name)
    base = diffusers.DiffusionPipeline
    if not isinstance(found, type) or not issubclass(found, base) or found is base:
        raise Untrusted(
            f"{_shown(path)} names no pipeline of diffusers {diffusers.__version__} as "
            f"_class_name, but {_shown(name)}: take a model that runs without code of its own."
        )
    return found


def _kind_of(path: Path, name: str, part: list[Any]) -> type | None:
    if len(part) != 2 or not all(isinstance(text, str) for text in part):
        raise Untrusted(
            f"{_shown(path)} says of {name} not a library and a class, but "
            f"{_shown(part)}: fetch the model again."
        )
    kind = _kind(*part)
    if kind is None and not (part[0] == "transformers" and OLD.fullmatch(part[1])):
        raise Untrusted(
            f"{_shown(path)} says that {name} is a {_shown('.'.join(part))}, which is no "
            "model, scheduler, tokenizer or processor of diffusers or transformers: take a model "
            "that runs without code of its own."
        )
    return kind


def _check_part(folder: Path, name: str, kind: type | None) -> None:
    # A model of one part has its files in the folder itself.
    home = folder / name if _is_folder(folder / name) else folder
    for path in home.iterdir():
        if not _is_folder(path):
            _is_file(path)  # a library may open any of them
    weights = KINDS[kind] if kind else None
    held, size = _check_weights(name, home, weights) if weights else (set(), LARGEST)
    for path in sorted(home.glob("*config.json")):
        # A tokenizer's have 10^30 for "no limit".
        if not _is_file(path):
            continue
        if kind is transformers.PreTrainedTokenizerBase:
            _check_length(path, _read(path))
        else:
            _check_settings(path, _read(path), len(held), max(size, LARGEST))
    if kind is transformers.PreTrainedModel and _is_file(home / "adapter_config.json"):
        raise Untrusted(
            f"{_shown(home / 'adapter_config.json')} would have other weights loaded than "
            f"those of {name}: remove it, or take a model without adapters."
        )


def _kind(library: str, name: str) -> type | None:
    """The kind of a part, of KINDS, or None where it is none."""
    if library == "diffusers":
        found = _named(diffusers, name)
    elif library == "transformers":
        found = _named(transformers, name)
    elif library.isidentifier() and (Path(diffusers.pipelines.__path__[0]) / library).is_dir():
        found = _named(getattr(diffusers.pipelines, library, None), name)
    else:
        return None
    if not isinstance(found, type) or issubclass(found, diffusers.DiffusionPipeline):
        return None
    return next((kind for kind in KINDS if issubclass(found, kind)), None)


def _named(module: Any, name: Any) -> Any:
    """A public class of a library, or None. Libraries import a class when it is asked for."""
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
        return None
    try:
        return getattr(module, name, None)
    except (ImportError, RuntimeError):  # it needs a library that is not here
        return None


def _check_weights(name: str, home: Path, stem: str) -> tuple[set[str], int]:
    """The names of the tensors that a part's weights hold, and the bytes of all."""
    whole, index = home / f"{stem}.safetensors", home / f"{stem}.safetensors.index.json"
    if _is_file(whole) and _is_file(index):
        raise Untrusted(
            f"{_shown(home)} holds its weights twice, as {whole.name} and by {index.name}: remove "
            "one of them."
        )
    if _is_file(index):
        files = _shards(home, index)
    elif _is_file(whole):
        files = [whole]
    else:
        raise Untrusted(_without_safetensors(name, home, stem))
    tensors: set[str] = set()
    for file in files:
        try:
            with safe_open(file, framework="np") as opened:
                tensors |= set(opened.keys())
        except (SafetensorError, OSError, ValueError) as error:
            raise Untrusted(
                f"{_shown(file)} cannot be read as safetensors ({printable(str(error))[:200]}): "
                "fetch it again."
            ) from error
    return tensors, sum(file.stat().st_size for file in files)


def _shards(home: Path, index: Path) -> list[Path]:
    """The files that an index names, each looked at."""
    named = set(read_json(_Shards, index, _shown(index)).weight_map.values())
    files = [inside(home, *RepositoryPath(shard).split("/")) for shard in sorted(named)]
    for file in files:
        if file.suffix != ".safetensors" or not _is_file(file):
            raise Untrusted(
                f"{_shown(index)} names {_shown(file.name)}, which is no file of safetensors "
                "beside it: fetch the model again."
            )
    return files


def _without_safetensors(name: str, home: Path, stem: str) -> str:
    files = sorted(path.name for path in home.iterdir()) if _is_folder(home) else []
    start = f"The {name} of {_shown(home.parent if home.name == name else home)}"
    if variants := [file for file in files if re.match(rf"{stem}\..+\.safetensors", file)]:
        return (
            f"{start} is there as {_shown(variants[0])} only: rename it to {stem}.safetensors, or "
            "fetch the file of that name."
        )
    if others := [file for file in files if file.endswith(PICKLES)]:
        return (
            f"{start} is there as {_shown(others[0])} only, a pickle, which may run code when it "
            "is read: take a copy of the model whose weights are safetensors."
        )
    if others := [file for file in files if file.endswith(OTHERS)]:
        return (
            f"{start} is there as {_shown(others[0])} only, for another library: take a copy of "
            "the model whose weights are safetensors."
        )
    return f"{start} has no weights: there is no {stem}.safetensors; fetch the model again."


def _check_length(path: Path, settings: dict[str, Any]) -> None:
    """Of a tokenizer: 10^30 is "no limit" there."""
    length = settings.get("model_max_length")
    if length is not None and (type(length) is not int or length < 1):
        raise Untrusted(
            f"{_shown(path)} has model_max_length = {_shown(length)}, but it is a whole number of "
            "at least 1: fetch the model again."
        )


def _check_settings(path: Path, settings: dict[str, Any], tensors: int, largest: int) -> None:
    """Refuse what would have a library build for hours, or load something else."""
    for key, value in _items(settings):
        if key in ELSEWHERE and value is not None:
            raise Untrusted(
                f"{_shown(path)} has {key}, which loads something else than the part's weights: "
                "remove it there, or take another model."
            )
        if key in ("attn_implementation", "_attn_implementation") and "/" in str(value):
            raise Untrusted(
                f"{_shown(path)} has {key} = {_shown(value)}, which is code on the hub: remove it "
                "there, or take another model."
            )
        number = len(value) if isinstance(value, list) else value
        if not isinstance(number, int) or isinstance(number, bool):
            continue
        limit = largest
        if SIDES.fullmatch(key):
            limit = LONGEST_SIDE
        elif tensors and (COUNTS.search(key) or isinstance(value, list)):
            limit = max(tensors, 1000) if isinstance(value, list) else tensors
        if number > limit:
            what = "a list of " if isinstance(value, list) else ""
            raise Untrusted(
                f"{_shown(path)} has {key} = {what}{_shown(number)}, more than {limit:,}, which "
                "is what the weights beside it can hold at most: fetch the model again."
            )
    if tensors and math.prod(_most(settings.get(key)) for key in NESTED) > max(tensors, 1000):
        raise Untrusted(
            f"{_shown(path)} has more layers than the {tensors:,} tensors of the weights beside "
            "it: fetch the model again."
        )


def _most(value: Any) -> int:
    """The largest number of a setting, or how many names it holds."""
    if isinstance(value, list):
        return max(
            [len(value) if isinstance(entry, str) else _most(entry) for entry in value] or [1]
        )
    return value if isinstance(value, int) and value > 0 else 1


def _items(settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every setting with its name, those within others too; of a list itself, then each entry."""
    for key, value in settings.items():
        yield key, value
        if isinstance(value, dict):
            yield from _items(value)
        elif isinstance(value, list):
            for entry in value:
                yield from _items(entry if isinstance(entry, dict) else {key: entry})


def _read(path: Path) -> dict[str, Any]:
    return read_json(dict[str, Any], path, _shown(path))


def _is_file(path: Path) -> bool:
    """Whether there is a file, or a link to one.

    Raises:
        Untrusted: there is something else of that name, which no library should open.
    """
    mode = _mode(path)
    if mode and not stat.S_ISREG(mode):
        raise Untrusted(f"{_shown(path)} is no file: remove it, or take another model.")
    return bool(mode)


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    """What kind of thing is there, links followed; 0 where there is nothing."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except (OSError, ValueError) as error:
        raise Untrusted(f"{_shown(path)} cannot be looked at ({_shown(error)}).") from error


def _shown(value: Any) -> str:
    text = printable(str(value))
    return text if len(text) <= 200 else text[:200] + "…"
