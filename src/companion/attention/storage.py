"""Maps in a file: safetensors, with everything that is not a tensor as JSON in its metadata."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from companion.attention.sums import HeatMaps, Key
from companion.attention.words import PromptTokens, Token

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
    """
    described = {
        "by": sorted(maps.by),
        "layers": maps.layers,
        "heads": maps.heads,
        "height": maps.height,
        "width": maps.width,
        "positions": maps.positions,
        "timesteps": maps.timesteps,
        "prompts": [None if one is None else asdict(one) for one in maps.prompts],
        "sums": [[*key, sorted(maps.members[key])] for key in maps.sums],
        "settings": {**maps.settings, **settings} | ({} if seed is None else {"seed": seed}),
    }
    tensors = {str(i): summed.contiguous() for i, summed in enumerate(maps.sums.values())}
    metadata = {"format": FORMAT, "maps": json.dumps(described)}
    save_file(tensors, path, metadata=metadata)


def load(path: str | Path) -> HeatMaps:
    """Read maps that `save` wrote; they lie on the CPU.

    Raises:
        ValueError: a file that holds something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a file of safetensors ({error}).") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} holds no attention maps: companion.attention.save did not write it."
        )
    described = json.loads(metadata["maps"])
    maps = HeatMaps(described["by"], described["layers"], described["heads"])
    maps.begin([_prompt(one) for one in described["prompts"]], described["positions"])
    for timestep in described["timesteps"]:
        maps.next_step(timestep, described["height"], described["width"])
    for i, (step, layer, height, width, members) in enumerate(described["sums"]):
        key = Key(step, layer, height, width)
        maps.sums[key] = tensors[str(i)]
        maps.members[key] = set(members)
    maps.settings = described["settings"]
    return maps


def _prompt(described: dict[str, Any] | None) -> PromptTokens | None:
    if described is None:
        return None
    return PromptTokens(
        prompt=described["prompt"],
        tokens=tuple(Token(**token) for token in described["tokens"]),
        words=tuple((start, end) for start, end in described["words"]),
        fitting=described["fitting"],
        limit=described["limit"],
    )
