"""What a run taught, loaded again."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from torch import Tensor, nn
from transformers import CLIPTextModel

from companion.door import Untrusted, is_file, printable
from companion.door.documents import parse_json, read_json
from companion.door.models import INDEX, check_model_folder, check_weights
from companion.door.text import fault_of

from .config import FinetuneConfig
from .examples import token_of
from .learner import folder_of
from .lowrank import projections, require_finite, shown_name
from .saving import LORA, SETTINGS, in_diffusers_names, read_tensors
from .words import EMBEDDINGS

# Settings that say which files there are, and what is in them.
_NEEDED = (
    "dataset_name",
    "method",
    "model",
    "rank",
    "alpha",
    "layers",
    "text_encoder",
    "token",
    "vectors",
)
# Where the weights of a network lie.
_WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}


def load_finetuned(folder: str | Path) -> StableDiffusionPipeline:
    """The model that a run began with, and what the run taught it, by Diffusers' own loaders.

    Chapter 8, "Loaded by stock Diffusers".

    Args:
        folder: of a run of `finetune`, or of one of its versions under steps/.

    Returns:
        The pipeline, in float32 on the CPU; a LoRA is an adapter in it, not merged.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no run's settings.
        ValueError: its files are not what a run wrote, or the model that it began with is gone.
    """
    place = Path(folder)
    if not is_file(place / SETTINGS):
        raise FileNotFoundError(
            f"The folder {printable(str(folder))} holds no {SETTINGS}: give the folder of a "
            "finished run, or one of its versions under steps/."
        )
    config = _settings(place / SETTINGS)
    whole = config.method == "dreambooth" and is_file(place / INDEX)
    pipeline = _base(place if whole else None, config, place)
    try:
        if config.method == "dreambooth":
            trained = ["unet", *(["text_encoder"] if whole or config.text_encoder else [])]
            for name in [*trained, *(["vae"] if whole else [])]:
                _put_network(getattr(pipeline, name), place / name / _WEIGHTS[name])
        if config.method == "lora":
            _check_lora(pipeline, config, place / LORA)
            pipeline.load_lora_weights(str(place), weight_name=LORA, use_safetensors=True)
        if (token := token_of(config)) is not None:
            table = pipeline.text_encoder.get_input_embeddings().weight
            wanted = {token: table.new_empty(config.vectors, table.shape[1], device="meta")}
            _check(place / EMBEDDINGS, read_tensors(place / EMBEDDINGS)[0], wanted)
            pipeline.load_textual_inversion(str(place / EMBEDDINGS), use_safetensors=True)
    except Exception as error:  # libraries raise what they like
        ours = isinstance(error, ValueError | FileNotFoundError)
        fault = str(error).rstrip(".") if ours else fault_of(error)
        raise Untrusted(
            f"The folder {printable(str(place))} is not what a run wrote ({printable(fault)}): "
            "give another version of the run, or run it again."
        ) from error
    return pipeline


def _settings(file: Path) -> FinetuneConfig:
    """The settings of a run, without what was of the call."""
    shown = printable(str(file))
    told = read_json(dict[str, Any], file, shown)
    told.pop("steps_done", None)
    known = {field.name for field in fields(FinetuneConfig)}
    odd = [f"it lacks {name}" for name in _NEEDED if name not in told]
    odd += [f"there is no setting {shown_name(name)}" for name in told if name not in known]
    try:
        if odd:
            raise Untrusted(odd[0])
        return FinetuneConfig(**told)
    except ValueError as error:
        raise Untrusted(
            f"{shown} is not what a run wrote ({str(error).rstrip('.')}): take a copy of the "
            "folder as the run left it."
        ) from error


def _base(home: Path | None, config: FinetuneConfig, place: Path) -> StableDiffusionPipeline:
    """The pipeline of a folder, or that of the model which the settings name."""
    try:
        home = home or folder_of(config.model)
        check_model_folder(home)
        pipeline = StableDiffusionPipeline.from_pretrained(
            home, dtype=torch.float32, use_safetensors=True
        )
        check_weights(pipeline, home)
        fits = isinstance(pipeline.unet, UNet2DConditionModel)
        if not fits or not isinstance(pipeline.text_encoder, CLIPTextModel):
            raise Untrusted("it is no Stable Diffusion 1.x")
    except Exception as error:  # libraries raise what they like
        fault = str(error).rstrip(".") if isinstance(error, Untrusted) else fault_of(error)
        whose = f"The model in {printable(str(place))}"
        if home != place:
            whose = f"The model {printable(config.model)}, which {printable(str(place))} changes,"
        raise Untrusted(
            f"{whose} cannot be loaded ({printable(fault)}): put back the one that the run began "
            "with, or run it again."
        ) from error
    return pipeline


def _put_network(network: nn.Module, file: Path) -> None:
    """Put the weights of a file into a network that has all of their names."""
    # Versions of transformers differ in whether names begin with that of the model within.
    own = {name.removeprefix("text_model."): name for name in network.state_dict()}
    found = {
        name.removeprefix("text_model."): tensor for name, tensor in read_tensors(file)[0].items()
    }
    weights = network.state_dict()
    _check(file, found, {name: weights[whole] for name, whole in own.items()})
    network.load_state_dict({own[name]: tensor for name, tensor in found.items()})


def _check_lora(pipeline: StableDiffusionPipeline, config: FinetuneConfig, file: Path) -> None:
    """Look at a LoRA before a loader does, which is content with a part of it."""
    wanted: dict[str, Tensor] = {}
    told: dict[str, Any] = {}
    for name in ("unet", "text_encoder") if config.text_encoder else ("unet",):
        network = getattr(pipeline, name)
        layers = projections(network, config.layers if name == "unet" else "all")
        weights: dict[str, Tensor] = {}
        for layer in layers:
            up, down = network.get_submodule(layer).weight.shape
            weights[f"{layer}.lora_A.weight"] = torch.empty(config.rank, down, device="meta")
            weights[f"{layer}.lora_B.weight"] = torch.empty(up, config.rank, device="meta")
        wanted |= in_diffusers_names(name, weights)
        told |= {
            f"{name}.r": config.rank,
            f"{name}.lora_alpha": config.alpha,
            f"{name}.target_modules": sorted(layers),
        }
    found, metadata = read_tensors(file)
    _check(file, found, wanted)
    text = metadata.get(LORA_ADAPTER_METADATA_KEY, "{}")
    shown = printable(str(file))
    if parse_json(dict[str, Any], text, f"The metadata of {shown}") != told:
        raise Untrusted(f"the metadata of {shown} says another rank, alpha or layers than settings")


def _check(file: Path, found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Refuse tensors of other names or shapes, or that are no finite numbers."""
    shown = printable(str(file))
    for name in sorted(set(found) ^ set(wanted)):
        has = "holds" if name in found else "lacks"
        raise Untrusted(f"{shown} {has} {shown_name(name)}, among others")
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape:
            raise Untrusted(
                f"{shown} has {shown_name(name)} in the shape {tuple(tensor.shape)}, but "
                f"{tuple(wanted[name].shape)} is needed"
            )
        require_finite(shown, name, tensor)
