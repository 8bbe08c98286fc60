"""Settings that are not the checkpoint's: taken over and said, or refused; never silently."""

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.optim.lr_scheduler as lrs
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, StepLR

from companion.training import (
    PictureDataset,
    TrainingConfig,
    TrainingRun,
    load_pictures,
    make_model,
    make_noise_scheduler,
    make_optimizer,
    picture_loader,
    train,
    train_loop,
)
from companion.training.changes import FREE, REFUSED, RULES, SAID
from companion.training.state import DoesNotFit, put_schedule_state, schedule_state

Make = Callable[..., TrainingConfig]


def test_every_setting_has_its_rule() -> None:
    assert {field.name for field in dataclasses.fields(TrainingConfig)} <= set(RULES)
    assert set(RULES.values()) == {REFUSED, SAID, FREE}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learning_rate": 1e-5}, r"learning_rate = 1e-05 \(it was 0\.001\)"),
        ({"weight_decay": 0.5}, r"weight_decay = 0\.5 \(it was 0\.01\)"),
        ({"ema_decay": 0.5}, r"ema_decay = 0\.5"),
        ({"snr_gamma": 5.0}, r"snr_gamma = 5\.0 \(it was None\)"),
        ({"max_grad_norm": 0.5}, r"max_grad_norm = 0\.5"),
        ({"mixed_precision": "bf16"}, "mixed_precision = 'bf16'"),
        ({"random_flip": False}, "random_flip = False"),
        ({"lr_warmup_steps": 5}, "lr_warmup_steps = 5 .*another schedule of the learning rate"),
        ({"num_epochs": 4}, "num_epochs = 4 .*another schedule of the learning rate"),
        ({"sample_steps": 3}, "sample_steps = 3"),
        ({"kid_samples": 4}, "kid_samples = 4"),
    ],
)
def test_a_change_is_taken_over_and_said(
    cut: Path, tiny: Make, change: dict[str, Any], said: str
) -> None:
    with pytest.warns(UserWarning, match=f"Going on from .*00000006 with other settings: .*{said}"):
        train(tiny(resume=True, **change))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"train_batch_size": 2}, "made with train_batch_size = 4, but this run has 2"),
        ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps = 1, but this run has 2"),
        ({"seed": 3}, "seed = 0, but this run has 3"),
        ({"image_size": 32}, "image_size = 16 and shape = .*but this run has 32"),
        ({"num_scenes": 13}, "pictures = 14 and num_scenes = 14, but this run has 13 and 13"),
        ({"dataset_name": "scenes:pets"}, "dataset_name = 'scenes:flowers', but this run has"),
        ({"prediction_type": "sample"}, "prediction_type = 'epsilon', but this run has 'sample'"),
        ({"scheduler": {"beta_schedule": "sigmoid"}}, "scheduler.beta_schedule = 'linear', but"),
        ({"ema_decay": 0.0}, r"ema_decay = 0\.9999, but this run has 0\.0"),
        ({"num_epochs": 1}, "beyond its 2 whole epochs, but num_epochs is 1|num_epochs is 1"),
    ],
)
def test_what_would_be_another_run_is_refused_by_its_name(
    cut: Path, tiny: Make, change: dict[str, Any], sentence: str
) -> None:
    before = sorted(cut.parent.iterdir())
    with pytest.raises(ValueError, match=sentence) as error:
        train(tiny(resume=True, **change))
    assert "damaged" not in str(error.value)
    assert sorted(cut.parent.iterdir()) == before


def test_another_model_is_named_and_not_called_damage(cut: Path, tiny: Make) -> None:
    wider = {**tiny().model, "block_out_channels": [8, 16]}
    with pytest.raises(
        ValueError, match=r"model\.block_out_channels = \[8, 8\], but this run has \[8, 16\]"
    ):
        train(tiny(resume=True, model=wider))


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint_every": 3},
        {"log_every": 3},
        {"eval_batch_size": 9},
        {"save_image_epochs": 1},
        {"save_model_epochs": 1},
    ],
)
def test_what_changes_nothing_is_taken_without_a_word(
    cut: Path, tiny: Make, tmp_path: Path, change: dict[str, Any]
) -> None:
    whole = train(tiny(output_dir=str(tmp_path / "whole")))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert train(tiny(resume=True, **change)).losses == whole.losses


def test_a_new_learning_rate_and_decay_count_from_the_next_step(cut: Path, tiny: Make) -> None:
    with pytest.warns(UserWarning, match="learning_rate"):
        run = train(tiny(resume=True, learning_rate=1e-6))
    assert max(run.learning_rates[:6]) == 1e-3
    assert 0 < max(run.learning_rates[6:]) <= 1e-6


def with_objects(
    config: TrainingConfig,
    make: Callable[[torch.nn.Module], Optimizer],
    schedule: Callable[[Optimizer], LRScheduler],
    pixels: torch.Tensor | None = None,
) -> TrainingRun:
    """As a reader calls the loop, with objects of their own."""
    pixels = load_pictures("scenes:flowers", 16, num_scenes=14) if pixels is None else pixels
    model = make_model(config)
    optimizer = make(model)
    return train_loop(
        config,
        model,
        make_noise_scheduler(config),
        optimizer,
        picture_loader(PictureDataset(pixels), 4),
        schedule(optimizer),
    )


def flat(optimizer: Optimizer) -> LRScheduler:
    return LambdaLR(optimizer, lambda step: 1.0)


def test_the_objects_count_and_not_what_the_settings_say(tiny: Make) -> None:
    with_objects(tiny(num_epochs=1), lambda m: SGD(m.parameters(), lr=0.1), flat)
    with pytest.warns(UserWarning, match=r"learning_rate = 0\.2 \(it was 0\.1\)"):
        run = with_objects(
            tiny(num_epochs=2, resume=True), lambda m: SGD(m.parameters(), lr=0.2), flat
        )
    assert run.learning_rates == [0.1] * 3 + [0.2] * 3


def test_another_optimiser_is_refused(tiny: Make) -> None:
    with_objects(tiny(num_epochs=1), lambda m: SGD(m.parameters(), lr=0.1), flat)
    with pytest.raises(ValueError, match="optimizer = 'SGD', but this run has 'AdamW'"):
        with_objects(tiny(resume=True), lambda m: make_optimizer(tiny(), m), flat)


def test_a_schedule_that_is_no_function_of_the_step_goes_on_where_it_was(
    tiny: Make, tmp_path: Path
) -> None:
    def stairs(optimizer: Optimizer) -> LRScheduler:
        return StepLR(optimizer, 2, gamma=0.5)

    whole = with_objects(
        tiny(output_dir=str(tmp_path / "whole")), lambda m: SGD(m.parameters(), lr=0.1), stairs
    )
    with_objects(tiny(num_epochs=1), lambda m: SGD(m.parameters(), lr=0.1), stairs)
    with pytest.warns(UserWarning, match="num_epochs"):
        run = with_objects(tiny(resume=True), lambda m: SGD(m.parameters(), lr=0.1), stairs)
    assert run.learning_rates == whole.learning_rates
    assert run.losses == whole.losses
    with pytest.raises(ValueError, match=r"learning_rate = 0\.1, but this run has 0\.2"):
        with_objects(tiny(resume=True, num_epochs=5), lambda m: SGD(m.parameters(), lr=0.2), stairs)


def one_weight() -> Optimizer:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)


SCHEDULES: list[Callable[[Optimizer], LRScheduler]] = [
    lambda optimizer: lrs.StepLR(optimizer, 2),
    lambda optimizer: lrs.MultiStepLR(optimizer, [2, 5]),
    lambda optimizer: lrs.CosineAnnealingLR(optimizer, 10),
    lambda optimizer: lrs.CosineAnnealingWarmRestarts(optimizer, 3, 2),
    lambda optimizer: lrs.OneCycleLR(optimizer, 0.1, total_steps=20),
    lambda optimizer: lrs.SequentialLR(
        optimizer, [lrs.LinearLR(optimizer), LambdaLR(optimizer, lambda step: 0.5)], [4]
    ),
]


@pytest.mark.parametrize("make", SCHEDULES)
def test_a_schedule_goes_on_through_json_and_no_other_value_is_taken(
    make: Callable[[Optimizer], LRScheduler],
) -> None:
    def rates(optimizer: Optimizer, schedule: LRScheduler) -> list[float]:
        found = []
        for _ in range(6):
            optimizer.step()
            schedule.step()
            found += schedule.get_last_lr()
        return found

    first, second = one_weight(), one_weight()
    goes_on, resumed = make(first), make(second)
    rates(first, goes_on)
    state = json.loads(json.dumps(schedule_state(goes_on)))
    put_schedule_state(second, resumed, state)
    assert rates(second, resumed) == rates(first, goes_on)
    for key in state:
        for other in ("x", -1, float("nan"), 10**400, [[1]], [float("nan")], {"a": 1}):
            with pytest.raises(DoesNotFit):
                put_schedule_state(second, resumed, {**state, key: other})


@pytest.mark.parametrize("steps", [0, 1, 3, 5])
def test_a_warm_up_goes_on_before_and_after_its_end(steps: int) -> None:
    def make(optimizer: Optimizer) -> LRScheduler:
        parts: list[LRScheduler] = [
            lrs.LinearLR(optimizer, 0.1, total_iters=4),
            lrs.CosineAnnealingWarmRestarts(optimizer, 20),
        ]
        return lrs.SequentialLR(optimizer, parts, [4])

    first, second = one_weight(), one_weight()
    goes_on, resumed = make(first), make(second)
    for _ in range(steps):
        first.step()
        goes_on.step()
    put_schedule_state(second, resumed, json.loads(json.dumps(schedule_state(goes_on))))
    for _ in range(6):
        for optimizer, schedule in ((first, goes_on), (second, resumed)):
            optimizer.step()
            schedule.step()
        assert goes_on.get_last_lr() == resumed.get_last_lr()


def test_other_settings_of_a_schedule_are_refused_by_name() -> None:
    state = schedule_state(StepLR(one_weight(), 2, gamma=0.5))
    optimizer = one_weight()
    with pytest.raises(DoesNotFit, match=r"gamma of its lr_scheduler is 0\.5"):
        put_schedule_state(optimizer, StepLR(optimizer, 2, gamma=0.9), state)


def test_pictures_of_other_contents_are_said(tiny: Make) -> None:
    pixels = load_pictures("scenes:flowers", 16, num_scenes=14)
    config = tiny(num_epochs=1)
    with_objects(config, lambda m: make_optimizer(config, m), flat, pixels)
    pixels[3] ^= 1
    with pytest.warns(UserWarning, match="other pictures than before"):
        with_objects(tiny(resume=True), lambda m: make_optimizer(config, m), flat, pixels)


@pytest.mark.parametrize("every", [0, 1, 2])
def test_the_advice_for_a_loss_that_is_no_number_works(tiny: Make, every: int) -> None:
    config = tiny(learning_rate=1e10, lr_warmup_steps=1, checkpoint_every=every)
    with pytest.raises(FloatingPointError, match=r"nan .* step .*Lower the learning rate, then"):
        train(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the change is said
        run = train(dataclasses.replace(config, learning_rate=1e-3, resume=True))
    assert len(run.losses) == 9
    assert torch.tensor(run.losses).isfinite().all()
