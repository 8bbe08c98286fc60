"""Chapter 5: training an unconditional diffusion model.

from companion.training import TrainingConfig, train
train(TrainingConfig(dataset_name="my-pictures", image_size=64))
"""

from importlib import import_module
from typing import Any

_ROOMS = {
    "assemble": (
        "make_dataloader",
        "make_model",
        "make_noise_scheduler",
        "make_optimizer",
        "train",
    ),
    "config": ("TrainingConfig", "load_config"),
    "dataset": ("PictureDataset", "picture_loader"),
    "ema": ("averaged", "make_ema"),
    "evaluation": ("draw",),
    "loop": ("TrainingRun", "train_loop"),
    "loss": ("diffusion_loss", "draw_noise", "target"),
    "pictures": ("load_pictures",),
    "schedule": ("cosine_schedule", "optimizer_steps"),
}
__all__ = sorted(name for names in _ROOMS.values() for name in names)


def __getattr__(name: str) -> Any:
    """Loaded when it is asked for: `companion train --help` does not wait for torch."""
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f".{room}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
