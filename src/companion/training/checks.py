"""What would be found out after hours of training, or never, is refused before it begins."""

import warnings

import torch
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType
from diffusers import DDPMScheduler, UNet2DModel

from .config import TrainingConfig


def check_arguments(
    config: TrainingConfig, model: UNet2DModel, noise_scheduler: DDPMScheduler
) -> None:
    """Refuse a model and a noise scheduler that do not fit together, the settings or the machine.

    Raises:
        ValueError: settings that do not fit this machine or the noise scheduler.
    """
    kind = noise_scheduler.config.prediction_type
    if kind != config.prediction_type:
        raise ValueError(
            f"The noise_scheduler has prediction_type {kind!r}, but the settings say "
            f"{config.prediction_type!r}: give both the same."
        )
    timesteps = noise_scheduler.config.num_train_timesteps
    if config.sample_steps > timesteps:
        raise ValueError(
            f"The setting sample_steps is {config.sample_steps}, but the noise_scheduler has "
            f"{timesteps} timesteps (num_train_timesteps): lower sample_steps."
        )
    learned = model.config.time_embedding_type == "learned"
    if learned and model.config.num_train_timesteps < timesteps:
        raise ValueError(
            f"The model has learned embeddings for {model.config.num_train_timesteps} timesteps, "
            f"but the noise_scheduler has {timesteps}: give both the same num_train_timesteps."
        )
    kept = noise_scheduler.alphas_cumprod  # alpha_bar: how much of the picture each step keeps
    if len(kept) != timesteps:
        raise ValueError(
            f"The noise_scheduler has {len(kept)} trained_betas for {timesteps} timesteps: set "
            "num_train_timesteps to their number."
        )
    if not (kept.min() >= 0 and kept.max() <= 1):  # also where one is not a number
        raise ValueError(
            "The betas of the noise_scheduler are not between 0 and 1: see to beta_start, beta_end "
            "and trained_betas in [scheduler]."
        )
    if kind == "epsilon" and kept[-1] == 0:
        raise ValueError(
            "The last step of the noise_scheduler is all noise, and a model that predicts noise "
            "learns nothing there: set prediction_type to 'v_prediction' or 'sample', or see to "
            "rescale_betas_zero_snr and the betas."
        )
    _check_tracker(config.log_with)
    if config.mixed_precision == "fp16" and not torch.cuda.is_available():
        raise ValueError(
            "mixed_precision 'fp16' needs a CUDA GPU; take 'bf16', or 'no', on this machine."
        )


def warn_if_imitated(config: TrainingConfig) -> None:
    """Warn of bfloat16 on a GPU that has none of its own."""
    imitated = torch.cuda.is_available() and not torch.cuda.is_bf16_supported(
        including_emulation=False
    )
    if config.mixed_precision == "bf16" and imitated:
        warnings.warn(
            "This GPU has no bf16 of its own and imitates it slowly: take 'fp16' or 'no'.",
            stacklevel=3,
        )


def _check_tracker(name: str | None) -> None:
    """accelerate leaves out a tracker that is not installed, without a word."""
    known = [str(tracker.value) for tracker in LoggerType]
    if name is None or name == LoggerType.ALL.value:
        return
    if name not in known:
        raise ValueError(f"The setting log_with is {name!r}, but has to be one of {known}.")
    if name not in [str(getattr(here, "value", here)) for here in get_available_trackers()]:
        raise ValueError(
            f"The setting log_with is {name!r}, but that is not installed: install it with pip, or "
            "set log_with to 'tensorboard'."
        )
