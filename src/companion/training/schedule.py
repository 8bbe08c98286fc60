"""How many optimiser steps a run has, and the learning rate's way through them."""

import math
import warnings
from typing import Any

from diffusers.optimization import get_cosine_schedule_with_warmup
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import DataLoader

from .config import TrainingConfig
from .order import batches_an_epoch

TUTORIAL_WARMUP = 500  # optimiser steps


def optimizer_steps(config: TrainingConfig, train_dataloader: DataLoader[Any]) -> int:
    """Optimiser steps of the whole run: what a learning rate schedule counts.

    Not the micro-batches: with accumulation there are fewer steps than batches, and several
    processes share the batches of an epoch. The last step of an epoch may hold fewer micro-batches.
    Chapter 5, "A schedule that never ends".
    """
    batches = batches_an_epoch(train_dataloader)
    return math.ceil(batches / config.gradient_accumulation_steps) * config.num_epochs


def cosine_schedule(
    config: TrainingConfig, optimizer: Optimizer, train_dataloader: DataLoader[Any]
) -> LambdaLR:
    """Warm-up in a straight line, then half a cosine that is zero after the last optimiser step.
    Chapter 5, "The optimiser and the learning rate".

    Raises:
        ValueError: the warm-up is as long as the run.
    """
    steps = optimizer_steps(config, train_dataloader)
    warmup = config.lr_warmup_steps
    if warmup is None:
        warmup = min(TUTORIAL_WARMUP, steps // 10)
    elif warmup >= steps:
        raise ValueError(
            f"The setting lr_warmup_steps is {warmup}, but the whole run has "
            f"{steps} optimiser steps: lower it, or train longer."
        )
    return get_cosine_schedule_with_warmup(optimizer, warmup, steps)


def warn_if_too_long(lr_scheduler: LRScheduler, steps: int) -> None:
    """Warn where a schedule would reach zero, but only after the run's last step (diffusers#8384).

    Seen on schedules made of a function of the step, which those of diffusers are.
    """
    if not isinstance(lr_scheduler, LambdaLR):
        return
    factor = lr_scheduler.lr_lambdas[0]
    later = range(steps + 1, 64 * steps, 1 + steps // 1000)
    end = next((step for step in later if factor(step) < 1e-4), None)
    if end is not None and factor(steps) > 0.01:
        warnings.warn(
            f"The learning rate is still {factor(steps):.0%} of its highest after the last of "
            f"{steps} optimiser steps, its schedule ends near step {end}: count its steps with "
            "companion.training.optimizer_steps.",
            stacklevel=5,
        )
