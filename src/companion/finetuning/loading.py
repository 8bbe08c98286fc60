"""What a run taught, loaded again."""

from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from companion.door import Untrusted, is_file, is_folder, printable
from companion.door.documents import read_json
from companion.door.models import INDEX, check_model_folder

from .config import FinetuneConfig
from .learner import folder_of
from .saving import LORA, SETTINGS
from .words import EMBEDDINGS


def load_finetuned(folder: str | Path) -> StableDiffusionPipeline:
    """The model that a run began with, and what the run taught it, by Diffusers' own loaders.

    Chapter 8, "Loaded by stock Diffusers".

    Args:
        folder: of a run of `finetune`, or of one of its versions under steps/.

    Returns:
        The pipeline, in float32 on the CPU; a LoRA is an adapter in it, not merged.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no run's settings.
        ValueError: its files are not what a run wrote.
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
    whole = is_file(place / INDEX)
    base = place if whole else folder_of(config.model)
    check_model_folder(base)
    pipeline = StableDiffusionPipeline.from_pretrained(
        base, dtype=torch.float32, use_safetensors=True
    )
    if not whole:
        if is_folder(place / "unet"):
            pipeline.unet = UNet2DConditionModel.from_pretrained(
                place / "unet", dtype=torch.float32, use_safetensors=True
            )
        if is_folder(place / "text_encoder"):
            pipeline.text_encoder = CLIPTextModel.from_pretrained(
                place / "text_encoder", dtype=torch.float32, use_safetensors=True
            )
    if is_file(place / LORA):
        pipeline.load_lora_weights(str(place), weight_name=LORA, use_safetensors=True)
    if is_file(place / EMBEDDINGS):
        pipeline.load_textual_inversion(str(place / EMBEDDINGS), use_safetensors=True)
    return pipeline
