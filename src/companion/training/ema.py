"""The exponential moving average of the weights: what is saved and drawn with."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from diffusers.training_utils import EMAModel
from torch import nn

from .config import TrainingConfig


def make_ema(config: TrainingConfig, unet: nn.Module) -> EMAModel | None:
    """The average of a model's weights, or None where `ema_decay` is 0.

    Chapter 5, "An average of the weights".
    """
    return moving_average(unet.parameters(), config.ema_decay) if config.ema_decay else None


def moving_average(parameters: Iterable[nn.Parameter], decay: float) -> EMAModel:
    """Diffusers' own average.

    It begins with the weights of the first step, and its decay d grows as 1 - (1 + step)^(-3/4) up
    to `decay`: so a short run is not an average with its beginning.
    """
    return EMAModel(parameters, decay=decay, use_ema_warmup=True, power=0.75, foreach=True)


@contextmanager
def averaged(module: nn.Module, ema: EMAModel | None) -> Iterator[None]:
    """Within, a module has its averaged weights and is in evaluation mode; then it is as before.

    Args:
        module: of any kind; the average is one of all its parameters.
        ema: None for the weights as they are.
    """
    parameters, training = list(module.parameters()), module.training
    if ema is not None:
        ema.store(parameters)
        ema.copy_to(parameters)
    module.eval()
    try:
        yield
    finally:
        module.train(training)
        if ema is not None:
            ema.restore(parameters)
