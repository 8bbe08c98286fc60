"""What was learned, on the disk: weights that stock Diffusers loads, their card and settings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from diffusers.utils import convert_state_dict_to_diffusers
from torch import Tensor, nn
from transformers import CLIPTextModel

from companion.door import Untrusted, is_file, is_folder, printable
from companion.door.documents import read_json
from companion.door.models import check_model_folder

from .config import FinetuneConfig
from .lowrank import lora_layers, lora_weights
from .tensors import write_tensors
from .words import EMBEDDINGS

LORA = "pytorch_lora_weights.safetensors"  # Diffusers' own name
SETTINGS, CARD = "settings.json", "README.md"
# Settings that decide neither what is learned nor how it is kept.
_OF_THE_CALL = ("output_dir", "resume", "overwrite_output_dir", "progress_bar")


def save_lora(folder: Path, unet: nn.Module, text_encoder: nn.Module | None = None) -> None:
    """Write the updates of low rank as `pipe.load_lora_weights(folder)` reads them.

    Under the names that Diffusers' training scripts write. Rank, alpha and the layers' names go
    into the file's metadata: without them a loader takes the rank for alpha.

    Args:
        folder: where to; the file is called pytorch_lora_weights.safetensors.
        unet: with the layers that `add_lora` made.
        text_encoder: the same, where it learned, too.

    Raises:
        ValueError: there are no such layers.
    """
    weights: dict[str, Tensor] = {}
    told: dict[str, Any] = {}
    for name, network in (("unet", unet), ("text_encoder", text_encoder)):
        if network is None:
            continue
        layers = lora_layers(network)
        if not layers:
            raise ValueError(f"The {name} has no updates of low rank: add_lora makes them.")
        first = next(iter(layers.values()))
        for key, weight in convert_state_dict_to_diffusers(lora_weights(network)).items():
            weights[f"{name}.{key}"] = weight
        told |= {
            f"{name}.r": first.rank,
            f"{name}.lora_alpha": first.alpha,
            f"{name}.target_modules": sorted(layers),
        }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(told, indent=2, sort_keys=True)
    write_tensors(folder / LORA, weights, {LORA_ADAPTER_METADATA_KEY: text})


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


def load_finetuned(folder: str | Path) -> StableDiffusionPipeline:
    """The model that a run began with, and what the run taught it, by Diffusers' own loaders.

    Chapter 8, "Loaded by stock Diffusers".

    Args:
        folder: of a run of `finetune`, or of one of its versions under steps/.

    Returns:
        The pipeline, in float32 on the CPU; a LoRA is an adapter in it, not merged.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no run's settings.
        ValueError: its files are not what a run wrote, or peft is not installed, which Diffusers
            needs for a LoRA.
    """
    place = Path(folder)
    if not is_file(place / SETTINGS):
        raise FileNotFoundError(
            f"The folder {printable(str(folder))} holds no {SETTINGS}: give the folder of a "
            "finished run, or one of its versions under steps/."
        )
    told = read_json(dict[str, Any], place / SETTINGS, f"{printable(str(place))}/{SETTINGS}")
    told.pop("steps_done", None)
    try:
        config = FinetuneConfig(**told)
    except TypeError as error:
        raise Untrusted(f"{printable(str(place / SETTINGS))} is not what a run wrote.") from error
    from .learner import folder_of

    whole = is_file(place / "model_index.json")
    base = place if whole else folder_of(config.model)
    check_model_folder(base)
    pipeline = StableDiffusionPipeline.from_pretrained(base, use_safetensors=True)
    if not whole:
        if is_folder(place / "unet"):
            pipeline.unet = UNet2DConditionModel.from_pretrained(
                place / "unet", use_safetensors=True
            )
        if is_folder(place / "text_encoder"):
            pipeline.text_encoder = CLIPTextModel.from_pretrained(
                place / "text_encoder", use_safetensors=True
            )
    if is_file(place / LORA):
        try:
            pipeline.load_lora_weights(str(place), weight_name=LORA)
        except ValueError as error:
            if "PEFT" in str(error):
                raise ValueError(
                    "Diffusers loads a LoRA with peft, which is not installed: pip install peft"
                ) from error
            raise
    if is_file(place / EMBEDDINGS):
        pipeline.load_textual_inversion(str(place / EMBEDDINGS))
    return pipeline


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
