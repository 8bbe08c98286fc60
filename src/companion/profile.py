"""Which models, sizes, device and precision the chapters use: `small`, offline on the CPU, or
`full`, on a GPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

VARIABLE = "COMPANION_PROFILE"
PROFILES = Path(__file__).with_name("profiles.toml")


@dataclass(frozen=True)
class ModelSource:
    """Where a model or a dataset comes from: the zoo, or one commit of a repository on the hub.

    Attributes:
        zoo: name in the zoo, or None.
        hub: id on the hub, or None.
        revision: commit of the hub's repository, 40 hexadecimal digits.
        files: patterns of the files that are loaded.
        repo_type: "model" or "dataset", the hub's own words.
        chapters: the chapters that load it; `companion fetch 3` fetches those of chapter 3.
        bytes: their size on disk.
        gpu_memory: bytes of GPU memory that running the model takes.
    """

    zoo: str | None = None
    hub: str | None = None
    revision: str | None = None
    files: tuple[str, ...] = ()
    repo_type: str = "model"
    chapters: tuple[int, ...] = ()
    bytes: int = 0
    gpu_memory: int = 0

    def folder(self) -> str:
        """The folder for `from_pretrained`; a hub model is fetched the first time.

        Raises:
            FileNotFoundError: the model is not here and cannot be fetched; the sentence says what
            to do.
        """
        if self.zoo:
            from companion.zoo import folder

            return str(folder(self.zoo))
        return self._snapshot()

    def _snapshot(self) -> str:
        from companion.hub import HubError
        from companion.hub.fetch import fetch_source

        try:
            return str(fetch_source(self))
        except HubError as error:
            raise FileNotFoundError(
                f"The {self.repo_type} {self.hub} is not on this machine and could not be fetched: "
                f"{error} Or use the embedded models with {VARIABLE}=small."
            ) from error


@dataclass(frozen=True)
class Profile:
    """What a chapter needs to know of the machine and the models.

    Attributes:
        name: "small" or "full".
        device: "cuda", "mps" or "cpu".
        dtype: precision of the weights on that device.
        models: where each model comes from, by the name a chapter calls it.
        denoiser_steps: chapter 2's number of steps, by sampler.
        prompt: chapter 3's prompt.
        auto_prompt: chapter 4's prompt.
        height: height of chapter 3's pictures in pixels.
        width: width of chapter 3's pictures in pixels.
        num_inference_steps: chapter 3's number of steps.
        guidance_scale: chapter 3's guidance scale.
        training: chapter 5's settings, by the names of its `TrainingConfig`.
        attention: chapter 6's: a `word` of chapter 3's prompt; a prompt of a `pair` of things, the
            `pair_words` that name them, and the `pair_seed`.
    """

    name: str
    device: str
    dtype: torch.dtype
    models: Mapping[str, ModelSource]
    denoiser_steps: Mapping[str, int]
    prompt: str
    auto_prompt: str
    height: int
    width: int
    num_inference_steps: int
    guidance_scale: float
    training: Mapping[str, Any]
    attention: Mapping[str, Any]

    @cached_property
    def denoiser(self) -> str:
        """Folder of chapter 2's unconditional model, for `UNet2DModel.from_pretrained`."""
        return self.models["denoiser"].folder()

    @cached_property
    def stable_diffusion(self) -> str:
        """Folder of chapter 3's Stable Diffusion, for `StableDiffusionPipeline.from_pretrained`."""
        return self.models["stable_diffusion"].folder()

    @cached_property
    def autopipeline(self) -> str:
        """Folder of chapter 4's model, for `AutoPipelineForText2Image.from_pretrained`."""
        return self.models["autopipeline"].folder()

    @cached_property
    def upscaler(self) -> str:
        """Folder of chapter 4's upscaler, for `StableDiffusionUpscalePipeline.from_pretrained`."""
        return self.models["upscaler"].folder()

    @cached_property
    def depth(self) -> str:
        """Folder of chapter 4's depth-to-image model, for
        `StableDiffusionDepth2ImgPipeline.from_pretrained`."""
        return self.models["depth"].folder()


def profile(name: str | None = None) -> Profile:
    """The profile of that name, or of the environment variable COMPANION_PROFILE, or `small`.

    From here on the libraries send the reader's token to no host but the official one, unless told
    to: see `companion.hub.tokens.keep_token_home`.

    Raises:
        ValueError: there is no such profile.
        RuntimeError: `full` was asked for on a machine without a GPU.
    """
    from companion.hub.tokens import keep_token_home

    keep_token_home()
    name, entry = _entry(name)
    device = best_device()
    if name == "full" and device == "cpu":
        raise RuntimeError(
            "The full profile needs a GPU and none was found; choose a GPU runtime, check that "
            f"torch.cuda.is_available() is True, or set {VARIABLE}=small."
        )
    return _from_table(name, entry, device)


def sources(name: str | None = None) -> dict[str, ModelSource]:
    """Every model and dataset of a profile, by the name a chapter calls it; needs no GPU.

    Raises:
        ValueError: there is no such profile.
    """
    _, entry = _entry(name)
    return {
        key: _source(table)
        for key, table in entry.items()
        if isinstance(table, dict) and ("zoo" in table or "hub" in table)
    }


def _source(table: dict[str, Any]) -> ModelSource:
    lists = {name: tuple(table.get(name, ())) for name in ("files", "chapters")}
    return ModelSource(**{**table, **lists})


def _entry(name: str | None) -> tuple[str, dict[str, Any]]:
    """A profile's name, the variable's or the default one, and its part of the table."""
    import tomllib  # 20 ms, of which `import companion` needs none

    table = tomllib.loads(PROFILES.read_text(encoding="utf-8"))
    name = name or os.environ.get(VARIABLE) or "small"
    if name not in table:
        known = " or ".join(table)
        raise ValueError(f"There is no profile {name!r}; set {VARIABLE} to {known}.")
    return name, table[name]


def _from_table(name: str, entry: dict[str, Any], device: str) -> Profile:
    import torch

    models = {key: s for key, s in sources(name).items() if s.repo_type == "model"}
    return Profile(
        name=name,
        device=device,
        dtype=getattr(torch, entry["precision"]),
        models=models,
        denoiser_steps=entry["denoiser_steps"],
        auto_prompt=entry["auto_prompt"],
        attention=entry["attention"],
        **entry["text_to_image"],
        training=entry["training"],
    )


def best_device() -> str:
    """The best device of this machine: "cuda", "mps" or "cpu"."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"
