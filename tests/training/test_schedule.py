"""The learning rate counts the optimiser's steps, and ends at zero."""

from collections.abc import Callable

import pytest
from diffusers.optimization import get_cosine_schedule_with_warmup

from companion.training import (
    TrainingConfig,
    cosine_schedule,
    make_dataloader,
    make_model,
    make_noise_scheduler,
    make_optimizer,
    optimizer_steps,
    train,
    train_loop,
)

Make = Callable[..., TrainingConfig]


@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_learning_rate_is_zero_after_the_last_optimiser_step(
    tiny: Make, accumulation: int
) -> None:
    config = tiny(num_scenes=20, gradient_accumulation_steps=accumulation)
    loader, model = make_dataloader(config), make_model(config)
    optimizer = make_optimizer(config, model)
    schedule = cosine_schedule(config, optimizer, loader)
    run = train_loop(config, model, make_noise_scheduler(config), optimizer, loader, schedule)
    assert len(run.steps) == optimizer_steps(config, loader) == (15 if accumulation == 1 else 6)
    assert schedule.get_last_lr() == [0.0]
    assert min(run.learning_rates[1:]) > 0
    assert max(run.learning_rates) == config.learning_rate


def test_a_schedule_that_counts_micro_batches_is_noticed(tiny: Make) -> None:
    config = tiny(gradient_accumulation_steps=3)
    loader, model = make_dataloader(config), make_model(config)
    optimizer = make_optimizer(config, model)
    tutorial = get_cosine_schedule_with_warmup(optimizer, 2, len(loader) * config.num_epochs)
    with pytest.warns(
        UserWarning, match=r"still 9\d% of its highest after the last of 3 .* near step 9"
    ):
        train_loop(config, model, make_noise_scheduler(config), optimizer, loader, tutorial)


def test_a_warm_up_as_long_as_the_run_is_refused(tiny: Make) -> None:
    with pytest.raises(ValueError, match="lr_warmup_steps is 500, but the whole run has 9"):
        train(tiny(lr_warmup_steps=500))
