"""What a training run is made of: one dataclass with the tutorial's names, checked when made."""

import dataclasses
import difflib
import inspect
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from companion.door import printable

# The settings that `companion train` takes as options; all others stand in a settings file.
ON_THE_COMMAND_LINE = (
    "dataset_name",
    "dataset_config_name",
    "dataset_split",
    "num_scenes",
    "bad_pictures",
    "image_size",
    "train_batch_size",
    "gradient_accumulation_steps",
    "num_epochs",
    "learning_rate",
    "mixed_precision",
    "seed",
    "output_dir",
    "resume",
)
CHOICES = {
    "mixed_precision": ("no", "fp16", "bf16"),
    "prediction_type": ("epsilon", "sample", "v_prediction"),
    "bad_pictures": ("fail", "skip"),
}
# Lowest and highest value of each number. The highest ones are beyond what a run needs, and below
# what exhausts a computer's memory or a library's integers.
EVER = 2**63 - 1
LIMITS: dict[str, tuple[float, float]] = {
    "image_size": (1, 4096),
    "train_batch_size": (1, 2**16),
    "eval_batch_size": (1, 2**16),
    "num_epochs": (1, 10**9),
    "gradient_accumulation_steps": (1, 10**6),
    "lr_warmup_steps": (0, 10**12),
    "save_image_epochs": (1, EVER),
    "save_model_epochs": (1, EVER),
    "seed": (0, EVER),
    "num_scenes": (1, 10**6),
    "ema_decay": (0, 1),
    "weight_decay": (0, 1e6),
    "checkpoint_every": (0, EVER),
    "log_every": (1, EVER),
    "sample_steps": (1, 10**6),
    "kid_samples": (0, 10**5),
}
# The same of those that lie above 0, however little.
ABOVE_0 = {"learning_rate": 1e30, "snr_gamma": 1e12, "max_grad_norm": 1e30}
MAY_BE_NONE = ("snr_gamma",)
# Pictures that are there at one time may have this many pixels together: 12 GiB as numbers.
PIXELS_AT_ONCE = 2**30
LONGEST_FILE = 2**20  # bytes of a settings file


class Settings:
    """What a dataclass of settings has in common with others: its values are looked at when it is
    made."""

    def check_types(self) -> None:
        """Refuse a value of another type: a toml file may hold a text where a number belongs."""
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
            kinds = tuple(get_origin(kind) or kind for kind in options)
            if int in kinds and isinstance(value, Integral) and not isinstance(value, int):
                value = int(value)  # numpy's
                object.__setattr__(self, name, value)
            # To Python True is a whole number too, and a whole number is no float.
            fits = isinstance(value, (*kinds, int) if float in kinds else kinds)
            if isinstance(value, bool):
                fits = bool in kinds
            if not fits:
                wanted = " or ".join(IN_WORDS.get(kind, "a table") for kind in kinds)
                raise ValueError(f"The setting {name} is {wanted}, but {shown(value)} was given.")

    def check_limits(
        self, limits: Mapping[str, tuple[float, float]], above_0: Mapping[str, float]
    ) -> None:
        """Refuse a number below its lowest or above its highest value, or not above 0."""
        for name, (lowest, highest) in limits.items():
            value = getattr(self, name)
            if value is None:  # where a setting may be
                continue
            self.require(name, value >= lowest, f"{lowest:,} or more")
            self.require(name, value <= highest, f"{highest:,} or less")
        for name, highest in above_0.items():
            value, none = getattr(self, name), ", or None" if name in MAY_BE_NONE else ""
            self.require(name, value is None or value > 0, f"above 0{none}")
            self.require(name, value is None or value <= highest, f"{highest:,g} or less{none}")

    def check_choices(self, choices: Mapping[str, tuple[str, ...]]) -> None:
        """Refuse a word that is none of the known ones."""
        for name, known in choices.items():
            allowed = "one of " + ", ".join(map(repr, known))
            self.require(name, getattr(self, name) in known, allowed)

    def check_texts(self, *names: str) -> None:
        """Refuse texts that are empty, or hold control codes."""
        for name in names:
            text = getattr(self, name)
            if text is not None:
                self.require(name, bool(text.strip()), "not empty")
                self.require(name, not any(char < " " for char in text), "without control codes")

    def require(self, name: str, fits: bool, allowed: str) -> None:
        """Refuse the value of a setting, and say what is allowed.

        Raises:
            ValueError: it does not fit.
        """
        if not fits:
            given = shown(getattr(self, name))
            raise ValueError(f"The setting {name} is {allowed}, but {given} was given.")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Settings):
    """Settings of a run. A mistake is a ValueError of one sentence when the object is made.

    The first fields are those of the Diffusers tutorial, "Train a diffusion model", under its
    names. Chapter 5, "Configuration".

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
        dataset_name: a folder of pictures or of a dataset, the id of one, or "scenes:SUBSET".
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
        self.check_types()
        self.check_limits(LIMITS, ABOVE_0)
        self.require("ema_decay", self.ema_decay < 1, "0 or more and below 1")
        self.require("kid_samples", self.kid_samples != 1, "0, or 2 or more")
        for name in ("train_batch_size", "eval_batch_size", "kid_samples"):
            most = max(2, PIXELS_AT_ONCE // self.image_size**2)
            self.require(name, getattr(self, name) <= most, f"{most:,} or less at this image_size")
        self.check_choices(CHOICES)
        self.check_texts("output_dir", "dataset_name")


IN_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "None",
}


def explanations(kind: type = TrainingConfig) -> dict[str, str]:
    """What each setting means: its lines in the docstring of the settings' class."""
    text = inspect.cleandoc(kind.__doc__ or "")
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name: " ".join(lines.split()) for name, lines in found}


def shown(value: object) -> str:
    """A value in a sentence: not too long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes out no number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def load_config(path: str | Path, **changes: Any) -> TrainingConfig:
    """The settings of a toml file, with some changed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no toml, or a setting is unknown or wrong.
    """
    return TrainingConfig(**settings_in(path, TrainingConfig) | changes)


def settings_in(path: str | Path, kind: type) -> dict[str, Any]:
    """What a toml file says of the settings of a class.

    Raises:
        What `load_config` raises; but the values are not looked at yet.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST_FILE + 1)
        if len(text) > LONGEST_FILE:
            raise ValueError(f"it is longer than {LONGEST_FILE:,} bytes")
        table = tomllib.loads(text.decode("utf-8-sig"))  # some editors write a mark in front
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no settings file {path}.") from error
    except OSError as error:
        raise OSError(
            f"The settings file {path} cannot be read ({error.strerror}): name another."
        ) from error
    except RecursionError as error:
        raise ValueError(f"The settings file {path} is not toml: nested too deeply.") from error
    except ValueError as error:  # tomllib's, and those of decoding
        raise ValueError(f"The settings file {path} is not toml: {error}.") from error
    known = [field.name for field in dataclasses.fields(kind)]
    for name in table:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ValueError(
                f"The settings file {path} has an unknown setting {printable(name[:60])}{hint}"
            )
    return table
