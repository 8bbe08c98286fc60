"""A Stable Diffusion as the book's pages run it: two files and a list of merges.

The engine of the pages (`book/_static/live/engine`) follows these files, and is written for no one
size: sizes come from the configuration, layers from the names of the weights. What it does not know
is refused here. Stable Diffusion 3 has a transformer in place of the UNet, and is exported without
its T5 encoder.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from companion.door.text import fault_of

from .exportable import LAYOUTS, check, unknown

__all__ = ["export"]

MODEL, WEIGHTS, MERGES = "model.json", "model.safetensors", "merges.txt"
TOKENS = "text_encoder.embeddings.token_embedding.weight"
PLACES = "transformer.pos_embed.pos_embed"
END = "<|endoftext|>"

MERGE_COUNT = 48_894  # of CLIP's tokenizer: the numbers of tokens follow from it
# Of weights. Unpacked they take up to 3.6 times that, and the engine has 2 GiB for all of it.
MOST_BYTES = 400 * 10**6
# Layers that read the same are one product: queries, keys and values, as in Diffusers' fused ones.
# The pattern of the first, the letters of all, their names by these, and that of the joined one.
JOINED = (
    (re.compile(r"(.*\.attn1)\.to_q\.(.*)"), "qkv", "{0}.to_{1}.{2}", "{0}.to_{1}.{2}"),
    (re.compile(r"(.*\.attn2)\.to_k\.(.*)"), "kv", "{0}.to_{1}.{2}", "{0}.to_{1}.{2}"),
    (
        re.compile(r"(vae\..*\.attentions\.0)\.to_q\.(.*)"),
        "qkv",
        "{0}.to_{1}.{2}",
        "{0}.to_{1}.{2}",
    ),
    (re.compile(r"(.*\.self_attn)\.q_proj\.(.*)"), "qkv", "{0}.{1}_proj.{2}", "{0}.to_{1}.{2}"),
    (re.compile(r"(.*\.attn)\.to_q\.(.*)"), "qkv", "{0}.to_{1}.{2}", "{0}.to_{1}.{2}"),
    (re.compile(r"(.*\.attn)\.add_q_proj\.(.*)"), "qkv", "{0}.add_{1}_proj.{2}", "{0}.add_{1}.{2}"),
)


def export(folder: Path, to: Path) -> dict[str, Path]:
    """Write a model as the book's pages run it.

    The page "The whole model in 900 lines" shows the code that reads it.

    Args:
        folder: a Stable Diffusion or a Stable Diffusion 3 in the Diffusers layout, such as
            `companion.zoo.folder` gives. The engine has one text encoder for both of SD3's, so
            these must be the same.
        to: the folder that is written to; it is made, and files in it of these names are replaced.

    Returns:
        Where the three files lie, by their names. `model.json` has the configurations and which
        tokens training met, for SD3 also how many tokens a text has; `model.safetensors` the
        weights in half precision, with their names of Diffusers behind "unet." or "transformer.",
        "vae." and "text_encoder."; `merges.txt` the tokenizer's merges.

    Raises:
        FileNotFoundError: the folder has no such model.
        ValueError: it has something that the engine of the pages does not know.
    """
    from safetensors.numpy import save_file  # numpy's own, without torch

    network = "transformer" if (folder / "transformer").is_dir() else "unet"
    configs = {part: _config(folder, part) for part in LAYOUTS[network]}
    check(network, configs)
    weights = _weights(folder, network)
    model: dict[str, Any] = dict(configs)
    if network == "transformer":
        _check_encoders(folder)
        model["tokens"] = _tokens(folder)
        weights[PLACES] = _places(weights, configs[network])
    if TOKENS not in weights or weights[TOKENS].ndim != 2 or not weights[TOKENS].size:
        raise ValueError(f"{folder / 'text_encoder'} has no table {TOKENS}: save the model anew.")
    met = np.flatnonzero(np.abs(weights[TOKENS]).max(axis=1))
    weights[TOKENS] = np.ascontiguousarray(weights[TOKENS][met])
    size = sum(array.nbytes for array in weights.values())
    if size > MOST_BYTES:
        raise ValueError(
            f"The model has {size / 10**6:.0f} MB of weights in half precision, but a page can "
            f"hold no more than {MOST_BYTES / 10**6:.0f}: take a smaller one."
        )
    model["known_tokens"] = met.tolist()
    merges = _merges(folder)

    to.mkdir(parents=True, exist_ok=True)
    files = {name: to / name for name in (MODEL, WEIGHTS, MERGES)}
    files[MODEL].write_text(json.dumps(model, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    save_file(weights, files[WEIGHTS])
    files[MERGES].write_text("\n".join(merges), encoding="utf-8")
    return files


def _config(folder: Path, part: str) -> dict[str, Any]:
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    path = folder / part / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no Stable Diffusion: it has no {part}/{name}. Give the folder of one "
            f"in the Diffusers layout."
        )
    return _settings(path)


def _settings(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): get the model anew.") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no settings by name: get the model anew.")
    return config


def _check_encoders(folder: Path) -> None:
    """SD3 has two CLIP models and a T5; the engine has one CLIP model for the two, and no T5."""
    if (folder / "text_encoder_3").exists():
        raise ValueError(
            f"{folder} has a T5 encoder, text_encoder_3, which the engine of the book's pages does "
            f"not know: save the pipeline without it."
        )
    first, second = (_tensors(folder / part) for part in ("text_encoder", "text_encoder_2"))
    settings = [
        {key: config.get(key) for key in ("hidden_act", "layer_norm_eps", "num_attention_heads")}
        for config in (_config(folder, "text_encoder"), _config(folder, "text_encoder_2"))
    ]
    if (
        settings[0] != settings[1]
        or set(first) != set(second)
        or not all(np.array_equal(first[name], second[name]) for name in first)
    ):
        raise ValueError(
            f"In {folder}, text_encoder_2 is another model than text_encoder, but the engine of "
            f"the book's pages has one for both."
        )


def _tokens(folder: Path) -> int:
    """How many tokens a text has, with start, end and padding."""
    found = []
    for part in ("tokenizer", "tokenizer_2"):
        path = folder / part / "tokenizer_config.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder} has no {part}/tokenizer_config.json: save its tokenizers with "
                f"save_pretrained."
            )
        config = _settings(path)
        padding, count = config.get("pad_token"), config.get("model_max_length")
        padding = padding.get("content") if isinstance(padding, dict) else padding
        if padding != END:
            raise unknown(part, "pad_token", padding, END)
        if type(count) is not int or not 3 <= count <= 77:
            raise unknown(part, "model_max_length", count, "3 to 77")
        found.append(count)
    if found[0] != found[1]:
        raise unknown("tokenizer_2", "model_max_length", found[1], f"the tokenizer's, {found[0]}")
    return found[0]


def _places(weights: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> np.ndarray:
    """The rows of the table of places that a picture's patches take, those in its middle."""
    side, most = config["sample_size"] // config["patch_size"], config["pos_embed_max_size"]
    table = weights.get(PLACES)
    if table is None or table.ndim != 3 or table.shape[:2] != (1, most**2):
        raise ValueError(f"The weights have no table {PLACES} of {most} x {most} places.")
    first = (most - side) // 2
    middle = table.reshape(most, most, -1)[first : first + side, first : first + side]
    return np.ascontiguousarray(middle.reshape(side**2, -1))


def _tensors(part: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    found = sorted(part.glob("*.safetensors"))
    if len(found) != 1:
        raise FileNotFoundError(
            f"{part} has {len(found)} files of weights, but one is needed: save the model with "
            f"save_pretrained, whole and without variants."
        )
    try:
        return load_file(found[0])
    except (SafetensorError, OSError, KeyError, TypeError) as error:  # numpy has no bfloat16
        raise ValueError(
            f"{found[0]} cannot be read ({fault_of(error)}): save the model anew, in float16 or "
            f"float32."
        ) from error


def _weights(folder: Path, network: str) -> dict[str, np.ndarray]:
    weights: dict[str, np.ndarray] = {}
    for part in (network, "vae", "text_encoder"):
        for name, tensor in _tensors(folder / part).items():
            name = f"{part}.{name.removeprefix('text_model.')}"
            if not name.endswith("position_ids"):
                weights[name] = _halved(name, tensor)
    for pattern, letters, each, joined in JOINED:
        for first in list(weights):
            if match := pattern.fullmatch(first):
                before, kind = match.groups()
                names = [each.format(before, letter, kind) for letter in letters]
                parts = [weights.pop(name) for name in names if name in weights]
                if len(parts) < len(names) or len({part.shape[1:] for part in parts}) > 1:
                    raise ValueError(
                        f"The weights {', '.join(names)} do not go together: save the model anew."
                    )
                weights[joined.format(before, letters, kind)] = np.concatenate(parts)
    return weights


def _halved(name: str, tensor: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        halved = tensor.astype(np.float16)
    if not np.isfinite(halved).all():
        raise ValueError(
            f"{name} has numbers that half precision cannot hold: the pages read weights in half "
            f"precision, so train it on with smaller weights."
        )
    return halved


def _merges(folder: Path) -> list[str]:
    """The merges of CLIP's tokenizer in order, each "a b"."""
    path = folder / "tokenizer" / "tokenizer.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no tokenizer/tokenizer.json: save its tokenizer with save_pretrained."
        )
    try:
        merges = json.loads(path.read_text(encoding="utf-8"))["model"]["merges"]
        pairs = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no merges ({fault_of(error)}): save the tokenizer anew with "
            f"save_pretrained."
        ) from error
    if len(pairs) != MERGE_COUNT:
        raise ValueError(
            f"{path} has {len(pairs):,} merges, but CLIP's tokenizer, the only one that the pages "
            f"know, has {MERGE_COUNT:,}."
        )
    return pairs
