"""What a fine-tuning run is made of: one dataclass, checked when made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from companion.door.prompts import check_text
from companion.training.config import EVER, PIXELS_AT_ONCE, Settings, settings_in

METHODS = ("lora", "textual_inversion", "dreambooth")
CHOICES = {
    "method": METHODS,
    "layers": ("all", "cross", "self"),
    "mixed_precision": ("no", "fp16", "bf16"),
}
# For the zoo's model, from five pictures: `benchmarks/finetuning.py` measures others beside them.
RATES = {"lora": 6e-4, "textual_inversion": 2e-2, "dreambooth": 2e-4}
# The settings that `companion train --lora` takes as options besides those that it has for every
# run; all others stand in a settings file.
ON_THE_COMMAND_LINE = (
    "model",
    "prompt",
    "num_pictures",
    "rank",
    "alpha",
    "layers",
    "text_encoder",
    "token",
    "initial_word",
    "steps",
    "prior_weight",
    "save_every",
)
LIMITS: dict[str, tuple[float, float]] = {
    "num_pictures": (1, 10**4),
    "image_size": (8, 2048),
    "rank": (1, 2**12),
    "vectors": (1, 64),
    "steps": (1, 10**9),
    "train_batch_size": (1, 2**12),
    "weight_decay": (0, 1e6),
    "caption_dropout": (0, 1),
    "prior_weight": (0, 1e6),
    "prior_pictures": (1, 10**5),
    "guidance_scale": (1, 1000),
    "save_every": (0, EVER),
    "checkpoint_every": (0, EVER),
    "sample_every": (0, EVER),
    "log_every": (1, EVER),
    "seed": (0, EVER),
}
ABOVE_0 = {"alpha": 1e12, "learning_rate": 1e30, "snr_gamma": 1e12, "max_grad_norm": 1e30}
TEXTS = (
    "dataset_name",
    "model",
    "output_dir",
    "prompt",
    "token",
    "initial_word",
    "prior_prompt",
)


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(Settings):
    """Settings of a run. A mistake is a ValueError of one sentence when the object is made.

    Where a setting means the same as in `companion.training.TrainingConfig`, it has the same name.
    Chapter 8, "The same, from the package".

    Attributes:
        dataset_name: what is taught: "object:NAME", an object of the atlas; "style:flat", how the
            zoo's own objects look in that style; or a folder of pictures.
        method: "lora", "textual_inversion" or "dreambooth".
        model: what learns it: a Stable Diffusion of the zoo, or of a folder in that layout (1.x).
        output_dir: folder of the run: what was learned, checkpoints, samples, the log; by default
            named after the pictures and the method.
        prompt: of a folder of pictures, what all of them show; by default each picture's text in
            metadata.jsonl.
        num_pictures: how many pictures of an object or a style.
        image_size: side of the square pictures, in pixels.
        rank: of LoRA, the rank of each layer's update.
        alpha: of LoRA: an update counts alpha / rank times.
        layers: of LoRA, which attention of the UNet: "all", "cross" to the words, "self" of the
            picture.
        text_encoder: let the text encoder learn, too: LoRA beside its attention, with DreamBooth
            all its weights.
        token: a new word for what is taught, such as "<fox>", whose embedding is learned; textual
            inversion makes one of the object's name.
        initial_word: the word whose embedding the new word's begins with; by default it is drawn.
        vectors: how many embeddings the new word has.
        steps: optimiser steps of the whole run.
        train_batch_size: pictures of a step.
        learning_rate: AdamW's, the same throughout; None for the method's own.
        weight_decay: AdamW's.
        max_grad_norm: gradients are scaled down to this norm where they exceed it.
        snr_gamma: highest signal-to-noise ratio that counts in full (Hang et al. 2023, min-SNR: 5);
            None for the plain mean squared error.
        caption_dropout: share of the captions that are left out, for classifier-free guidance.
        prior_weight: how much the model's own pictures count beside the new ones (Ruiz et al. 2022,
            "Class-specific prior preservation loss", where it is 1); 0 for none.
        prior_pictures: how many pictures the model draws of what it knows, before the first step.
        prior_prompt: what they show; by default, of a model of the zoo, all its objects.
        guidance_scale: of the pictures that are drawn, those of the prior and the sample grids.
        mixed_precision: "no", "fp16" or "bf16".
        save_every: steps between two versions that are kept under steps/; 0 for the last one alone.
        sample_every: steps between two sample grids; 0 for one at the end.
        checkpoint_every: steps between two checkpoints; 0 for one at the end only.
        log_every: steps between two looks at the loss.
        seed: decides the first weights, the order of the pictures and the noise.
        resume: go on from the newest checkpoint in `output_dir`, if there is one.
        overwrite_output_dir: remove an earlier run from `output_dir` first.
        progress_bar: show one.
    """

    dataset_name: str = "object:fox"
    method: str = "lora"
    model: str = "stable-diffusion"
    output_dir: str = ""
    prompt: str | None = None
    num_pictures: int = 5
    image_size: int = 64
    rank: int = 8
    alpha: float = 8.0
    layers: str = "all"
    text_encoder: bool = False
    token: str | None = None
    initial_word: str | None = None
    vectors: int = 1
    steps: int = 200
    train_batch_size: int = 8
    learning_rate: float | None = None
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    snr_gamma: float | None = 5.0
    caption_dropout: float = 0.1
    prior_weight: float = 0.0
    prior_pictures: int = 64
    prior_prompt: str | None = None
    guidance_scale: float = 4.0
    mixed_precision: str = "no"
    save_every: int = 0
    sample_every: int = 0
    checkpoint_every: int = 100
    log_every: int = 10
    seed: int = 0
    resume: bool = False
    overwrite_output_dir: bool = False
    progress_bar: bool = True

    def __post_init__(self) -> None:
        self.check_types()
        if not self.output_dir and isinstance(self.dataset_name, str):
            name = Path(self.dataset_name.rpartition(":")[2]).name.replace(" ", "-")
            object.__setattr__(self, "output_dir", f"{name}-{self.method.replace('_', '-')}")
        self.check_limits(LIMITS, ABOVE_0)
        self.check_choices(CHOICES)
        self.check_texts(*TEXTS)
        for name in ("prompt", "token", "initial_word", "prior_prompt"):
            if getattr(self, name) is not None:
                check_text(f"The setting {name}", getattr(self, name))
        self.require("image_size", self.image_size % 8 == 0, "a multiple of 8")
        most = max(2, PIXELS_AT_ONCE // self.image_size**2)
        for name in ("train_batch_size", "num_pictures", "prior_pictures"):
            self.require(name, getattr(self, name) <= most, f"{most:,} or less at this image_size")
        self.require("token", " " not in (self.token or ""), "one word, without a blank")
        if self.method == "textual_inversion":
            self.require("text_encoder", not self.text_encoder, "for the other methods")
            self.require("prior_weight", not self.prior_weight, "for the other methods")
        elif self.token is None:
            self.require("initial_word", self.initial_word is None, "for a run with a token")

    @property
    def rate(self) -> float:
        """The learning rate: the setting, or the method's own."""
        return RATES[self.method] if self.learning_rate is None else self.learning_rate


def load_finetune_config(path: str | Path, **changes: Any) -> FinetuneConfig:
    """The settings of a toml file, with some changed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no toml, or a setting is unknown or wrong.
    """
    return FinetuneConfig(**settings_in(path, FinetuneConfig) | changes)
