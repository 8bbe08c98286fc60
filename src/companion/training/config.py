"""What a training run is made of: one dataclass with the tutorial's names, checked when made."""

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")
MIXED_PRECISION = ("no", "fp16", "bf16")
BAD_PICTURES = ("fail", "skip")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of a run. A mistake is a ValueError of one sentence when the object is made.

    The first fields are those of the Diffusers tutorial, "Train a diffusion model", under its
    names.

    Attributes:
        image_size: side of the square pictures, in pixels.
        train_batch_size: pictures a micro-batch, in each process.
        eval_batch_size: pictures on a sample grid.
        num_epochs: how often every picture is seen.
        gradient_accumulation_steps: micro-batches whose gradients make one optimiser step.
        learning_rate: highest rate of AdamW, reached after the warm-up.
        lr_warmup_steps: optimiser steps until then; None for a tenth of the run, 500 at most.
        save_image_epochs: epochs between two sample grids; the last epoch always makes one.
        save_model_epochs: epochs between two saved pipelines; the last epoch always saves one.
        mixed_precision: "no", "fp16" or "bf16".
        output_dir: folder of the run: pipeline, checkpoints, samples, logs.
        push_to_hub: upload the pipeline to the hub after it was saved.
        hub_model_id: repository on the hub; by default the name of `output_dir`.
        hub_private_repo: make that repository a private one.
        overwrite_output_dir: remove an earlier run from `output_dir` first.
        seed: decides the first weights, the order of the pictures, flips and noise.
        dataset_name: a folder of pictures, the id of a dataset, or "scenes:SUBSET".
        dataset_config_name: which configuration of a dataset that has several.
        dataset_split: which split of a dataset; by default train, or its only one.
        num_scenes: how many scenes, where the scenes are the data.
        prediction_type: what the model learns to predict: "epsilon" the noise, "sample" the clean
            picture, "v_prediction" the velocity (Salimans and Ho 2022).
        snr_gamma: highest signal-to-noise ratio that counts in full (Hang et al. 2023, min-SNR: 5);
            None for the plain mean squared error.
        ema_decay: highest decay of the exponential moving average of the weights; 0 for none.
        weight_decay: AdamW's.
        max_grad_norm: gradients are scaled down to this norm where they exceed it.
        random_flip: mirror every second picture, by chance.
        bad_pictures: "fail" stops at a picture that cannot be read, "skip" names it and goes on.
        data_on_device: keep all pictures as bytes on the device rather than in main memory.
        channels_last: memory layout of the weights; measure it, on some devices it is slower.
        compile: compile the model's blocks, if a compiled step agrees with an eager one.
        gradient_checkpointing: compute activations twice to keep fewer of them.
        checkpoint_every: optimiser steps between two checkpoints; 0 for one at the end only.
        resume: go on from the newest checkpoint in `output_dir`, if there is one.
        log_with: an accelerate tracker such as "tensorboard"; None for none.
        log_every: optimiser steps between two looks at the loss; each look waits for the device.
        sample_steps: denoising steps of a sample grid.
        kid_samples: pictures that are drawn with each grid to measure their KID on the features of
            the zoo's classifier, which knows scenes only; 0 for none.
        progress_bar: show one.
        model: settings of `UNet2DModel`; what is absent is the tutorial's.
        scheduler: settings of `DDPMScheduler`; what is absent is its default.
    """

    image_size: int = 128
    train_batch_size: int = 16
    eval_batch_size: int = 16
    num_epochs: int = 10
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1e-4
    lr_warmup_steps: int | None = None
    save_image_epochs: int = 2
    save_model_epochs: int = 30
    mixed_precision: str = "no"
    output_dir: str = "ddpm-flowers-128"
    push_to_hub: bool = False
    hub_model_id: str | None = None
    hub_private_repo: bool = False
    overwrite_output_dir: bool = False
    seed: int = 0
    dataset_name: str = "huggan/flowers-102-categories"
    dataset_config_name: str | None = None
    dataset_split: str | None = None
    num_scenes: int = 4000

    prediction_type: str = "epsilon"
    snr_gamma: float | None = None
    ema_decay: float = 0.9999
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    random_flip: bool = True
    bad_pictures: str = "fail"
    data_on_device: bool = True
    channels_last: bool = False
    compile: bool = False
    gradient_checkpointing: bool = False
    checkpoint_every: int = 500
    resume: bool = False
    log_with: str | None = "tensorboard"
    log_every: int = 10
    sample_steps: int = 25
    kid_samples: int = 0
    progress_bar: bool = True
    model: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_types()
        for name in (
            "image_size",
            "train_batch_size",
            "eval_batch_size",
            "num_epochs",
            "gradient_accumulation_steps",
            "save_image_epochs",
            "save_model_epochs",
            "num_scenes",
            "log_every",
            "sample_steps",
        ):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        for name in ("lr_warmup_steps", "seed", "checkpoint_every", "weight_decay"):
            value = getattr(self, name)
            self._require(name, value is None or value >= 0, "0 or more")
        for name in ("learning_rate", "max_grad_norm"):
            value = getattr(self, name)
            self._require(name, math.isfinite(value) and value > 0, "above 0")
        gamma = self.snr_gamma
        self._require("snr_gamma", gamma is None or gamma > 0, "above 0, or None for no weighting")
        self._require("ema_decay", 0 <= self.ema_decay < 1, "0 or more and below 1")
        self._require(
            "kid_samples", self.kid_samples == 0 or self.kid_samples >= 2, "0, or 2 or more"
        )
        for name, choices in (
            ("mixed_precision", MIXED_PRECISION),
            ("prediction_type", PREDICTION_TYPES),
            ("bad_pictures", BAD_PICTURES),
        ):
            allowed = "one of " + ", ".join(map(repr, choices))
            self._require(name, getattr(self, name) in choices, allowed)
        for name in ("output_dir", "dataset_name"):
            self._require(name, bool(getattr(self, name).strip()), "not empty")

    def _check_types(self) -> None:
        """A toml file may hold a text where a number belongs."""
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
            kinds = tuple(get_origin(kind) or kind for kind in options)
            # To Python True is a whole number too, and a whole number is no float.
            right = isinstance(value, (*kinds, int) if float in kinds else kinds)
            if isinstance(value, bool):
                right = bool in kinds
            if not right:
                wanted = " or ".join(_PLAIN.get(kind, "a table") for kind in kinds)
                raise ValueError(f"The setting {name} is {wanted}, but {value!r} was given.")

    def _require(self, name: str, right: bool, allowed: str) -> None:
        if not right:
            given = getattr(self, name)
            raise ValueError(f"The setting {name} is {allowed}, but {given!r} was given.")


_PLAIN = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "None",
}


def load_config(path: str | Path, **changes: Any) -> TrainingConfig:
    """The settings of a toml file, with some changed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no toml, or a setting is unknown or wrong.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no settings file {path}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"The settings file {path} is not toml: {error}.") from error
    known = [one.name for one in dataclasses.fields(TrainingConfig)]
    for name in table:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ValueError(f"The settings file {path} has an unknown setting {name}{hint}")
    return TrainingConfig(**{**table, **changes})
