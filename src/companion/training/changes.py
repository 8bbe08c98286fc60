"""What may change between a checkpoint and the run that goes on from it, setting by setting."""

import hashlib
from typing import Any

from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import Dataset

from .config import TrainingConfig
from .state import as_json, optimizer_groups

# What becomes of a setting that is not the checkpoint's:
REFUSED = "refused: it would be another run, or the state would not fit"
SAID = "taken over from here on, and said"
FREE = "taken over without a word: what the model learns does not depend on it"

# The settings, and what else decides a run. Where the loop is given an object, the object is looked
# at, not the setting that it may have been made from.
RULES = {
    # what the pictures are
    "dataset_name": FREE,  # they may have moved; "content" is what counts
    "dataset_config_name": FREE,
    "dataset_split": FREE,
    "num_scenes": FREE,
    "bad_pictures": FREE,
    "pictures": REFUSED,  # how many
    "image_size": REFUSED,
    "shape": REFUSED,
    "content": SAID,  # one was mended, a decoder is newer; refused where the source is another, too
    "random_flip": SAID,
    # which of them make a step, and what chance adds to them
    "train_batch_size": REFUSED,
    "gradient_accumulation_steps": REFUSED,
    "processes": REFUSED,
    "seed": REFUSED,
    # what is learned, by what
    "model": REFUSED,
    "scheduler": REFUSED,
    "prediction_type": REFUSED,
    "optimizer": REFUSED,
    "lr_scheduler": REFUSED,
    # how it is learned
    "num_epochs": SAID,
    "learning_rate": SAID,  # refused where the schedule is no function of the step
    "lr_warmup_steps": SAID,
    "schedule": SAID,
    "weight_decay": SAID,
    "betas": SAID,
    "eps": SAID,
    "ema_decay": SAID,  # refused between 0 and another: an average has to begin with the run
    "snr_gamma": SAID,
    "max_grad_norm": SAID,
    "mixed_precision": SAID,
    # how the best is found
    "kid_samples": SAID,
    "sample_steps": SAID,
    # how fast, how often, where to: bar rounding, the losses are the same
    "data_on_device": FREE,
    "channels_last": FREE,
    "compile": FREE,
    "gradient_checkpointing": FREE,
    "eval_batch_size": FREE,
    "save_image_epochs": FREE,
    "save_model_epochs": FREE,
    "checkpoint_every": FREE,
    "log_every": FREE,
    "log_with": FREE,
    "progress_bar": FREE,
    "output_dir": FREE,
    "overwrite_output_dir": FREE,
    "resume": FREE,
    "push_to_hub": FREE,
    "hub_model_id": FREE,
    "hub_private_repo": FREE,
}
SOURCE = ("dataset_name", "dataset_config_name", "dataset_split", "num_scenes", "bad_pictures")
OF_THE_LOOP = (
    *SOURCE,
    "gradient_accumulation_steps",
    "seed",
    "num_epochs",
    "lr_warmup_steps",
    "ema_decay",
    "snr_gamma",
    "max_grad_norm",
    "mixed_precision",
    "kid_samples",
    "sample_steps",
)
# Settings of an optimiser's groups: the rates come from the schedule, the last ones are of speed.
_ELSEWHERE = ("lr", "initial_lr", "fused", "foreach", "capturable", "differentiable")


def describe(
    config: TrainingConfig,
    unet: UNet2DModel,
    noise_scheduler: DDPMScheduler,
    optimizer: Optimizer,
    lr_scheduler: LRScheduler,
    dataset: Dataset[Any],
    *,
    batch_size: int,
    processes: int,
    steps: int,
) -> dict[str, Any]:
    """All that decides a run, before its first step: names of `RULES`, values as JSON gives them.

    Raises:
        DoesNotFit: an object holds what JSON does not.
    """
    pixels = getattr(dataset, "pixels", None)
    pixels = pixels if isinstance(pixels, Tensor) else None
    groups = optimizer_groups(optimizer)
    found: dict[str, Any] = {
        "train_batch_size": batch_size,
        "processes": processes,
        "pictures": len(dataset),  # type: ignore[arg-type]
        "image_size": unet.config.sample_size,
        "shape": None if pixels is None else list(pixels.shape[1:]),
        "content": None if pixels is None else _digest(pixels),
        "random_flip": getattr(dataset, "random_flip", None),
        "prediction_type": noise_scheduler.config.prediction_type,
        **{name: getattr(config, name) for name in OF_THE_LOOP},
        "optimizer": type(optimizer).__name__,
        "optimizer.groups": len(groups),
        "lr_scheduler": type(lr_scheduler).__name__,
        "schedule": _factors(lr_scheduler, steps),
        "learning_rate": [group.get("initial_lr", group["lr"]) for group in groups],
        "model": type(unet).__name__,
        "scheduler": type(noise_scheduler).__name__,
    }
    for name, value in unet.config.items():
        if not name.startswith("_") and name != "sample_size":
            found[f"model.{name}"] = value
    for name, value in noise_scheduler.config.items():
        if not name.startswith("_") and name != "prediction_type":
            found[f"scheduler.{name}"] = value
    for key in sorted({key for group in groups for key in group} - set(_ELSEWHERE)):
        name = key if key in RULES else f"optimizer.{key}"
        found[name] = [group.get(key) for group in groups]
    for name, value in found.items():
        if name != "shape" and isinstance(value, list) and len(value) == 1:
            found[name] = value[0]
    return {name: as_json(value, name) for name, value in found.items()}


def compare(before: dict[str, Any], now: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What differs from a checkpoint's description: names that are refused, and ones to be said."""
    refused, said = [], []
    for name in [*now, *(name for name in before if name not in now)]:
        old, new = before.get(name), now.get(name)
        if name == "schedule" and isinstance(old, list) and isinstance(new, list):
            shared = min(len(old), len(new))
            old, new = old[:shared], new[:shared]
        if old == new:
            continue
        rule = RULES.get(_head(name), REFUSED)
        if (
            (name == "ema_decay" and not (old and new))
            or (name == "learning_rate" and now["lr_scheduler"] != LambdaLR.__name__)
            or (name == "content" and any(before.get(source) != now[source] for source in SOURCE))
        ):
            rule = REFUSED
        if rule == REFUSED:
            refused.append(name)
        elif rule == SAID:
            said.append(name)
    # Of an optimiser of another class, the class says it.
    return [name for name in refused if name == _head(name) or _head(name) not in refused], said


def _head(name: str) -> str:
    return name.partition(".")[0]


def _digest(pixels: Tensor) -> str:
    """SHA-256 of the pictures in their order, read in parts of a few hundred MB."""
    found = hashlib.sha256()
    for part in pixels.split(4096):
        found.update(part.cpu().contiguous().numpy())
    return found.hexdigest()


def _factors(lr_scheduler: LRScheduler, steps: int) -> list[list[float]] | None:
    """What a schedule that is a function of the step gives at some steps of the run."""
    if not isinstance(lr_scheduler, LambdaLR):
        return None
    places = sorted({step for power in range(48) for step in (2**power, 3 * 2**power)})
    return [
        [float(factor(step)) for factor in lr_scheduler.lr_lambdas]
        for step in places
        if step <= steps
    ]
