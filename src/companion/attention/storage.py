"""Maps in a file: safetensors, with everything that is not a tensor as JSON in its metadata."""

import json
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from companion.door import Untrusted, exists, is_file, is_folder, printable
from companion.door.documents import parse_json
from companion.door.numbers import is_several, listed, whole
from companion.door.paths import file_path
from companion.door.prompts import LONGEST

from .directions import DIRECTIONS, TO_PICTURE
from .sums import HeatMaps, Key
from .words import PromptTokens

FORMAT = "companion.attention 1"


def save(
    maps: HeatMaps,
    path: str | Path,
    *,
    seed: int | Sequence[int] | None = None,
    **settings: Any,
) -> None:
    """Write maps to one file of safetensors.

    Args:
        maps: what a trace gathered.
        path: the file, as a rule with the ending ".safetensors".
        seed: the pictures', to be found again.
        **settings: what else is worth knowing, such as `model="..."` and `guidance_scale=4.0`:
            anything that JSON can hold. They stand beside those that the trace knows by itself.

    Raises:
        ValueError: what is no path, no maps, or no seed, or settings that JSON cannot hold.
        OSError: the file cannot be written; FileNotFoundError, as there is no such folder.
    """
    path = file_path("path", path)
    if not isinstance(maps, HeatMaps):
        raise ValueError(f"maps are those of a trace, but {type(maps).__name__} was given.")
    described = {
        "by": sorted(maps.by),
        "direction": maps.direction,
        "layers": maps.layers,
        "heads": maps.heads,
        "height": maps.height,
        "width": maps.width,
        "positions": maps.positions,
        "timesteps": maps.timesteps,
        "prompts": [None if prompt is None else asdict(prompt) for prompt in maps.prompts],
        "sums": [[*key, sorted(maps.members[key])] for key in maps.sums],
        "settings": {**maps.settings, **settings}
        | ({} if seed is None else {"seed": _seeds(seed)}),
    }
    metadata = {"format": FORMAT, "maps": _text(described)}
    tensors = {str(i): summed.contiguous() for i, summed in enumerate(maps.sums.values())}
    shown = printable(str(path))
    if not is_folder(path.parent):
        raise FileNotFoundError(f"There is no folder {printable(str(path.parent))}: make it first.")
    if exists(path) and not is_file(path):
        raise OSError(f"{shown} is a folder, a pipe or a device: take another name.")
    try:
        save_file(tensors, path, metadata=metadata)
    except (SafetensorError, OSError) as error:
        raise OSError(
            f"{shown} cannot be written ({printable(str(error))[:200]}): take another place, or "
            f"another name."
        ) from error


def _seeds(seed: Any) -> int | list[int]:
    seeds = [whole("A seed", number) for number in listed(seed)]
    return seeds if is_several(seed) else seeds[0]


def _text(described: dict[str, Any]) -> str:
    """The description as JSON, such as `load` takes."""
    try:
        text = json.dumps(described, default=_plain)
        fault = _fault(parse_json(_Described, text, "The description"))
    except (TypeError, ValueError, RecursionError) as error:
        fault = str(error).rstrip(".")
    if fault:
        raise ValueError(f"The maps and settings are such as no file can hold: {printable(fault)}.")
    return text


def _plain(value: Any) -> Any:
    """Numbers of numpy and torch as Python's own."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON")


def load(path: str | Path) -> HeatMaps:
    """Read maps that `save` wrote; they lie on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file that holds something else, or is damaged; the sentence says what.
    """
    path = file_path("path", path)
    what = f"The file of maps {printable(str(path))}"
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Untrusted(f"{what} cannot be read: it is a folder, a pipe or a device.")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise Untrusted(
                    f"{what} holds no attention maps: companion.attention.save did not write it."
                )
            described = parse_json(_Described, metadata.get("maps", ""), what)
            fault = _fault(described) or _tensor_fault(described, file)
            # Copied: what lies in the file itself, Windows lets nobody replace or remove.
            names = () if fault else file.keys()
            tensors = {name: file.get_tensor(name).clone() for name in names}
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file {printable(str(path))}.") from error
    except SafetensorError as error:
        raise Untrusted(
            f"{what} is not a file of safetensors, or is damaged ({printable(str(error))[:200]})."
        ) from error
    except OSError as error:
        raise Untrusted(f"{what} cannot be read ({error.strerror or error}).") from error
    if not fault and not all(
        tensor.isfinite().all() and tensor.ge(0).all() for tensor in tensors.values()
    ):
        fault = "some of its numbers are no attention, which is 0 or more"
    if fault:
        raise Untrusted(f"{what} is damaged: {printable(fault)}.")
    maps = HeatMaps(described.by, described.layers, described.heads, described.direction)
    maps.begin(described.prompts, described.positions)
    for timestep in described.timesteps:
        maps.next_step(timestep, described.height, described.width)
    for i, (step, layer, height, width, members) in enumerate(described.sums):
        key = Key(step, layer, height, width)
        maps.sums[key] = tensors[str(i)]
        maps.members[key] = set(members)
    maps.settings = described.settings
    return maps


Index = Annotated[int, Field(ge=0, le=10**6)]
Side = Annotated[int, Field(ge=1, le=1024)]  # of latents: pictures of 8,192 pixels
Finite = Annotated[float, Field(allow_inf_nan=False)]
DirectionName = Annotated[str, Field(pattern="^(" + "|".join(DIRECTIONS) + ")$")]


@dataclass(frozen=True)
class _Described:
    """What the metadata say of the tensors."""

    by: list[Literal["step", "layer", "head"]]
    layers: list[str]
    heads: list[Annotated[int, Field(ge=1, le=1024)]]
    height: Annotated[int, Field(ge=0, le=1024)]  # 0 where nothing was traced
    width: Annotated[int, Field(ge=0, le=1024)]
    positions: Annotated[list[Index], Field(max_length=2000)]  # SD3 has 589 tokens
    timesteps: list[Finite]
    prompts: list[PromptTokens | None]
    sums: list[tuple[Index | None, Index | None, Side, Side, list[Index]]]
    settings: dict[str, Any]
    direction: DirectionName = TO_PICTURE.name  # all that files of before there were others hold


def _fault(described: _Described) -> str:
    """What of the description contradicts the rest of it, or ""."""
    if len(described.heads) != len(described.layers):
        return f"it has {len(described.layers)} layers, but {len(described.heads)} numbers of heads"
    if len(set(described.positions)) < len(described.positions):
        return "a position stands twice in it"
    for prompt in described.prompts:
        if prompt is not None and (fault := _prompt_fault(prompt, set(described.positions))):
            return fault
    for i, (step, layer, height, width, members) in enumerate(described.sums):
        known = set(range(len(described.layers)))
        layers = {layer} if "layer" in described.by else known
        steps = range(len(described.timesteps)) if "step" in described.by else (None,)
        if (
            step not in steps
            or (layer is None) == ("layer" in described.by)
            or not members
            or not set(members) <= layers & known
            or len(set(members)) < len(members)
        ):
            return f"sum {i} is of a step or of layers that it does not have"
        if described.direction == "text to text":
            if (height, width) != (1, len(described.positions)):
                return f"sum {i} is not of its tokens"
        elif height > described.height or width > described.width:
            return f"sum {i} is larger than the latents"
    if len({tuple(entry[:4]) for entry in described.sums}) < len(described.sums):
        return "a sum stands twice in it"
    return ""


def _prompt_fault(tokens: PromptTokens, positions: set[int]) -> str:
    """What is wrong with the places of a prompt's words and tokens, or ""."""
    length = len(tokens.prompt)
    if length > LONGEST:
        return f"a prompt of it has {length:,} characters, more than {LONGEST:,}"
    spans = [(token.start, token.end) for token in tokens.tokens if token.start != -1]
    if not all(0 <= start <= end <= length for start, end in spans) or not all(
        0 <= start < end <= length for start, end in tokens.words
    ):
        return f"words lie outside of the prompt {tokens.prompt[:60]!r}"
    if any(after < end for (_, end), (after, _) in pairwise(tokens.words)):
        return f"words of the prompt {tokens.prompt[:60]!r} overlap, or stand in another order"
    given = [token.position for token in tokens.tokens]
    if not given or not set(given) <= positions:
        return f"tokens of the prompt {tokens.prompt[:60]!r} have no maps"
    if len(set(given)) < len(given):
        return f"tokens of the prompt {tokens.prompt[:60]!r} stand at one position"
    readable = tokens.readable()
    if len(readable) > len(given) or not all(tokens.inside(*place) for place in readable):
        return f"words of the prompt {tokens.prompt[:60]!r} have no tokens"
    return ""


def _tensor_fault(described: _Described, file: Any) -> str:
    """What of the tensors is not as described, or ""; none of them is read for that."""
    names = set(file.keys())
    if names != {str(i) for i in range(len(described.sums))}:
        return f"it has {len(names)} tensors for {len(described.sums)} sums"
    for i, (_, _, height, width, members) in enumerate(described.sums):
        rows = max(described.heads[layer] for layer in members) if "head" in described.by else 1
        within = described.direction == "picture to picture"
        readers = height * width if within else len(described.positions)
        shape = [len(described.prompts), rows, readers, height, width]
        found = file.get_slice(str(i))
        if found.get_shape() != shape or found.get_dtype() != "F32":
            return f"sum {i} is {found.get_dtype()} of {found.get_shape()}, and not F32 of {shape}"
    return ""
