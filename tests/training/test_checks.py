"""What does not fit together, or the machine, is refused before the first step."""

from collections.abc import Callable

import pytest
import torch
from diffusers import DDPMScheduler

from companion.training import (
    TrainingConfig,
    cosine_schedule,
    make_dataloader,
    make_model,
    make_optimizer,
    train,
    train_loop,
)

Make = Callable[..., TrainingConfig]


def test_types_that_differ_are_refused(tiny: Make) -> None:
    config = tiny(prediction_type="v_prediction")
    model, loader = make_model(config), make_dataloader(config)
    optimizer = make_optimizer(config, model)
    schedule = cosine_schedule(config, optimizer, loader)
    with pytest.raises(ValueError, match="'epsilon', but the settings say 'v_prediction'"):
        train_loop(config, model, DDPMScheduler(), optimizer, loader, schedule)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it can be done")
def test_half_precision_without_a_gpu_is_refused(tiny: Make) -> None:
    with pytest.raises(ValueError, match="'fp16' needs a CUDA GPU; take 'bf16', or 'no'"):
        train(tiny(mixed_precision="fp16"))
