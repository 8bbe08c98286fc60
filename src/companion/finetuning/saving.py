"""What was learned, on the disk: weights that stock Diffusers loads, their card and settings."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from diffusers.utils import convert_state_dict_to_diffusers
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from companion.door import Untrusted, is_file, is_folder, nearest, printable
from companion.door.paths import file_path
from companion.door.text import fault_of

from .config import FinetuneConfig
from .lowrank import lora_layers, lora_weights
from .tensors import write_tensors
from .words import EMBEDDINGS

LORA = "pytorch_lora_weights.safetensors"  # Diffusers' own name
SETTINGS, CARD = "settings.json", "README.md"
# Settings that decide neither what is learned nor how it is kept.
_OF_THE_CALL = ("output_dir", "resume", "overwrite_output_dir", "progress_bar")


def save_lora(folder: str | Path, unet: nn.Module, text_encoder: nn.Module | None = None) -> None:
    """Write the updates of low rank as `pipe.load_lora_weights(folder)` reads them.

    Under the names that Diffusers' training scripts write. Rank, alpha and the layers' names go
    into the file's metadata: without them a loader takes the rank for alpha. Where layers differ in
    rank or alpha, as those of `load_kohya` may, each one's own goes there too.

    Args:
        folder: where to; the file is called pytorch_lora_weights.safetensors.
        unet: with the layers that `add_lora` made.
        text_encoder: the same, where it learned, too.

    Raises:
        ValueError: there are no such layers, or the file cannot be there.
    """
    file = file_path("folder", folder) / LORA
    above = nearest(file.parent)
    if not is_folder(above):
        raise ValueError(f"{printable(str(above))} is no folder: give another place for the LoRA.")
    _require_no_folder(file)
    weights: dict[str, Tensor] = {}
    told: dict[str, Any] = {}
    for name, network in (("unet", unet), ("text_encoder", text_encoder)):
        if network is None:
            continue
        layers = lora_layers(network)
        if not layers:
            raise ValueError(f"The {name} has no updates of low rank: add_lora makes them.")
        first = next(iter(layers.values()))
        weights |= in_diffusers_names(name, lora_weights(network))
        told |= {
            f"{name}.r": first.rank,
            f"{name}.lora_alpha": first.alpha,
            f"{name}.target_modules": sorted(layers),
        }
        ranks = {key: layer.rank for key, layer in layers.items() if layer.rank != first.rank}
        alphas = {key: layer.alpha for key, layer in layers.items() if layer.alpha != first.alpha}
        told |= {f"{name}.rank_pattern": ranks} if ranks else {}
        told |= {f"{name}.alpha_pattern": alphas} if alphas else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(told, indent=2, sort_keys=True)
    write_tensors(file, weights, {LORA_ADAPTER_METADATA_KEY: text})


def in_diffusers_names(network: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of `lora_weights` as the file calls them; the network is "unet", "text_encoder"."""
    return {
        f"{network}.{key}": weight
        for key, weight in convert_state_dict_to_diffusers(weights).items()
    }


def new_file(file: str | Path) -> Path:
    """Where a file can be written: in a folder that is there.

    Raises:
        ValueError: it cannot.
    """
    place = file_path("file", file)
    if not is_folder(place.parent):
        raise ValueError(
            f"There is no folder {printable(str(place.parent))}: make it first, or give another "
            "file."
        )
    _require_no_folder(place)
    return place


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, by name, and the texts of its metadata.

    Raises:
        FileNotFoundError: there is none.
        Untrusted: it is no safetensors file, or may not be read.
    """
    shown = printable(str(file))
    if not is_file(file):
        raise FileNotFoundError(f"There is no file {shown}.")
    try:
        with safe_open(file, "pt") as opened:
            names = sorted(opened.keys())
            tensors = {name: opened.get_tensor(name).clone() for name in names}
            return tensors, opened.metadata() or {}
    except SafetensorError as error:
        raise Untrusted(
            f"The file {shown} is no safetensors file: take a copy of it that is."
        ) from error
    except (OSError, ValueError) as error:
        raise Untrusted(
            f"The file {shown} cannot be read ({fault_of(error)}): take a copy of it that can."
        ) from error


def _require_no_folder(file: Path) -> None:
    if is_folder(file):
        raise ValueError(f"{printable(str(file))} is a folder: a file goes there, give another.")


def save_settings(config: FinetuneConfig, steps: int, folder: Path) -> None:
    """Write the settings, and after how many steps this was."""
    told = {
        name: value
        for name, value in dataclasses.asdict(config).items()
        if name not in _OF_THE_CALL
    }
    text = json.dumps({**told, "learning_rate": config.rate, "steps_done": steps}, indent=1)
    (folder / SETTINGS).write_text(text + "\n", encoding="utf-8", newline="\n")


def save_card(
    config: FinetuneConfig,
    steps: int,
    weights: int,
    folder: Path,
    unknown_words: Sequence[str] = (),
) -> None:
    """Write the model card: what learned what, how, how to load it, and which words of the captions
    the base model cannot tell from others."""
    method = {
        "lora": f"LoRA of rank {config.rank}, alpha {config.alpha:g}, on {config.layers} attention",
        "textual_inversion": "textual inversion",
        "dreambooth": "DreamBooth, all weights of the UNet",
    }[config.method]
    if config.text_encoder:
        method += ", the text encoder too"
    if config.prior_weight:
        method += f", prior preservation of weight {config.prior_weight:g}"
    data = config.dataset_name
    if ":" not in data:
        data = Path(data).name  # where a reader's pictures lie is nobody's business
    base = config.model if not _is_path(config.model) else Path(config.model).name
    lines = [
        "---",
        f"base_model: {base}",
        "library_name: diffusers",
        "pipeline_tag: text-to-image",
        *(["tags: [lora]"] if config.method == "lora" else []),
        "---",
        "",
        f"# {printable(data)}, taught to {printable(base)}",
        "",
        f"{method[0].upper()}{method[1:]}: {weights:,} weights trained in {steps:,} steps of "
        f"{config.train_batch_size} pictures, AdamW at {config.rate:g}, seed {config.seed}.",
        "",
        *_told(unknown_words),
        "```python",
        *_how_to_load(config),
        "```",
        "",
        f"All settings are in {SETTINGS}. The base model's licence holds for this too.",
        "",
    ]
    (folder / CARD).write_text("\n".join(lines), encoding="utf-8", newline="\n")


def _told(words: Sequence[str]) -> list[str]:
    if not words:
        return []
    several = len(words) > 1
    return [
        f"The base model never met {', '.join(map(printable, words))}: "
        f"{'these words have' if several else 'this word has'} no embedding of "
        f"{'their' if several else 'its'} own there, so any other word that it never met draws the "
        "same. A token of its own would tell them apart.",
        "",
    ]


def _is_path(model: str) -> bool:
    return any(sign in model for sign in ("/", "\\", "~"))


def _how_to_load(config: FinetuneConfig) -> list[str]:
    if config.method == "dreambooth":
        lines = ['pipe = StableDiffusionPipeline.from_pretrained("this-folder")']
    else:
        lines = ["pipe = StableDiffusionPipeline.from_pretrained(base)"]
    if config.method == "lora":
        lines.append('pipe.load_lora_weights("this-folder")')
    if config.method == "textual_inversion" or config.token is not None:
        lines.append(f'pipe.load_textual_inversion("this-folder/{EMBEDDINGS}")')
    return ["from diffusers import StableDiffusionPipeline", "", *lines]
