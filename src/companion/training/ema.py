"""The exponential moving average of the weights: what is saved and drawn with."""

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers import UNet2DModel
from diffusers.training_utils import EMAModel

from .config import TrainingConfig


def make_ema(config: TrainingConfig, unet: UNet2DModel) -> EMAModel | None:
    """Diffusers' own average, or None where `ema_decay` is 0.

    It begins with the weights of the first step, and its decay grows as 1 - (1 + step)^(-3/4) up to
    the setting: so a short run is not an average with its beginning.
    """
    if not config.ema_decay:
        return None
    return EMAModel(
        unet.parameters(), decay=config.ema_decay, use_ema_warmup=True, power=0.75, foreach=True
    )


@contextmanager
def averaged(unet: UNet2DModel, ema: EMAModel | None) -> Iterator[None]:
    """Within, the model has its averaged weights and is in evaluation mode."""
    parameters = list(unet.parameters())
    if ema is not None:
        ema.store(parameters)
        ema.copy_to(parameters)
    unet.eval()
    try:
        yield
    finally:
        unet.train()
        if ema is not None:
            ema.restore(parameters)
