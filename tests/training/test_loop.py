"""The loop: gradients, schedule, averaged weights, and what a run leaves behind."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler
from diffusers.optimization import get_cosine_schedule_with_warmup
from safetensors.torch import load_file
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from companion.training import (
    PictureDataset,
    TrainingConfig,
    TrainingRun,
    cosine_schedule,
    draw,
    load_pictures,
    make_dataloader,
    make_model,
    make_noise_scheduler,
    make_optimizer,
    picture_loader,
    train,
    train_loop,
)
from exiftool import read_with_exiftool

Make = Callable[..., TrainingConfig]
Weights = dict[str, torch.Tensor]


def plain_step(config: TrainingConfig, rate: float = 1.0) -> tuple[Weights, list[float]]:
    """Weights and losses after gradient steps: at rate 1 the gradients are what was taken off."""
    model = make_model(config)
    optimizer = SGD(model.parameters(), lr=1.0)
    run = train_loop(
        config,
        model,
        make_noise_scheduler(config),
        optimizer,
        make_dataloader(config),
        LambdaLR(optimizer, lambda step: rate),
    )
    return model.state_dict(), run.losses


def same(first: Weights, second: Weights) -> bool:
    return all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


def plain_step_as_lists(config: TrainingConfig) -> tuple[dict[str, Any], list[float]]:
    """The same, without tensors: one in a queue needs its process alive."""
    weights, losses = plain_step(config)
    return {name: value.tolist() for name, value in weights.items()}, losses


@pytest.fixture
def exact(tiny: Make) -> Make:
    """Two steps whose gradients nothing scales down, on the same pictures in any partition."""

    def make(**changes: Any) -> TrainingConfig:
        return tiny(
            **{
                "num_scenes": 16,
                "num_epochs": 1,
                "random_flip": False,
                "max_grad_norm": 1e9,
                "ema_decay": 0.0,
                "checkpoint_every": 0,
                "overwrite_output_dir": True,
                **changes,
            }
        )

    return make


def test_two_processes_give_the_gradients_of_one_with_the_doubled_batch(
    exact: Make, in_two_processes: Callable[..., Any]
) -> None:
    weights, losses = plain_step(exact(train_batch_size=8))
    answer, ends = in_two_processes(plain_step_as_lists, exact(train_batch_size=4))
    assert ends == [0, 0]
    shared, shared_losses = answer
    assert len(shared_losses) == len(losses) == 2
    assert shared_losses == pytest.approx(losses, abs=1e-5)
    assert same(weights, {name: torch.tensor(value) for name, value in shared.items()})


def test_accumulation_gives_the_gradients_of_the_large_batch(exact: Make) -> None:
    large, large_losses = plain_step(exact(train_batch_size=8))
    small, small_losses = plain_step(exact(train_batch_size=2, gradient_accumulation_steps=4))
    assert small_losses == pytest.approx(large_losses, abs=1e-5)
    assert same(large, small)


def test_an_epochs_last_step_counts_its_fewer_batches_in_full(exact: Make) -> None:
    # 12 pictures in batches of 4: a step of two micro-batches, then a step of one.
    _, losses = plain_step(exact(num_scenes=12, train_batch_size=4, gradient_accumulation_steps=2))
    _, first = plain_step(exact(num_scenes=12, train_batch_size=4))
    assert len(losses) == 2
    assert losses[0] == pytest.approx((first[0] + _loss_of_second(exact)) / 2, abs=1e-5)


def _loss_of_second(exact: Make) -> float:
    """Loss of the second batch before any step: a rate of 0 leaves the weights alone."""
    config = exact(num_scenes=12, train_batch_size=4)
    return plain_step(config, rate=0.0)[1][1]


def test_without_averaging_the_pipeline_has_the_last_weights(exact: Make) -> None:
    weights, _ = plain_step(exact())
    saved = load_file(Path(exact().output_dir) / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(weights[name], saved[name]) for name in weights)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_every_prediction_type_learns_one_picture_by_heart(
    tiny: Make, prediction_type: str
) -> None:
    picture = load_pictures("scenes:flowers", 16, num_scenes=1)[:, :, ::2, ::2]
    config = tiny(
        image_size=8,
        num_epochs=1,
        train_batch_size=16,
        learning_rate=5e-3,
        prediction_type=prediction_type,
        ema_decay=0.0,
        checkpoint_every=0,
        model={**tiny().model, "block_out_channels": [32, 32], "norm_num_groups": 8},
    )
    model = make_model(config)
    optimizer = make_optimizer(config, model)
    dataset = PictureDataset(picture.repeat(16 * 120, 1, 1, 1), random_flip=False)
    loader = picture_loader(dataset, 16)
    noise_scheduler = make_noise_scheduler(config)
    before = draw(make_model(config), noise_scheduler, 4, steps=25, seed=1)
    schedule = cosine_schedule(config, optimizer, loader)
    train_loop(config, model, noise_scheduler, optimizer, loader, schedule)
    after = draw(model, noise_scheduler, 4, steps=25, seed=1)
    wanted = dataset[0]["images"]
    assert (after - wanted).square().mean() < 0.05 < (before - wanted).square().mean()


def test_a_run_leaves_what_stock_diffusers_loads_and_draws_with(tiny: Make) -> None:
    run = train(tiny())
    names = {path.name for path in run.folder.iterdir()}
    assert names == {
        "best",
        "best.json",
        "checkpoints",
        "log.csv",
        "model_index.json",
        "samples",
        "scheduler",
        "unet",
    }
    for folder in (run.folder, run.folder / "best"):
        pipeline = DDPMPipeline.from_pretrained(folder)
        assert isinstance(pipeline.scheduler, DDPMScheduler)
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        assert pipeline(batch_size=2, num_inference_steps=2).images[0].size == (16, 16)
    grids = sorted(path.name for path in (run.folder / "samples").iterdir())
    assert grids == ["0001.png", "0002.png"]  # every second epoch, and the last
    found = read_with_exiftool(run.folder / "samples" / "0002.png")
    assert found["XMP-iptcExt:DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    kept = sorted(path.name for path in (run.folder / "checkpoints").iterdir())
    assert kept == ["checkpoint-00000008", "checkpoint-00000009"]


def test_a_model_can_be_trained_again_in_another_precision(tiny: Make) -> None:
    config = tiny(num_epochs=1, overwrite_output_dir=True)
    model, noise_scheduler = make_model(config), make_noise_scheduler(config)
    loader = make_dataloader(config)
    runs: list[TrainingRun] = []
    for precision in ("no", "bf16", "no"):
        again = replace(config, mixed_precision=precision, learning_rate=1e-9)
        optimizer = make_optimizer(again, model)
        schedule = cosine_schedule(again, optimizer, loader)
        runs.append(train_loop(again, model, noise_scheduler, optimizer, loader, schedule))
    assert runs[0].losses == pytest.approx(runs[2].losses, rel=1e-5)
    assert runs[0].losses != pytest.approx(runs[1].losses, rel=1e-5)
    assert runs[0].losses == pytest.approx(runs[1].losses, rel=0.05)
    assert model(torch.zeros(1, 3, 16, 16), 0).sample.dtype == torch.float32


@pytest.mark.parametrize("trick", ["channels_last", "gradient_checkpointing"])
def test_a_trick_changes_the_speed_and_not_the_losses(tiny: Make, trick: str) -> None:
    plain = train(tiny(overwrite_output_dir=True))
    tricky = train(tiny(overwrite_output_dir=True, **{trick: True}))
    assert tricky.losses == pytest.approx(plain.losses, rel=1e-4)


def test_a_reader_s_own_loader_trains_as_in_the_tutorial(tiny: Make, tmp_path: Path) -> None:
    from companion.scenes import dataset

    scenes = dataset(8, subset="flowers", image_size=16)

    def transform(examples: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        images = [
            torch.from_numpy(np.array(i)).permute(2, 0, 1) / 127.5 - 1 for i in examples["image"]
        ]
        return {"images": [i.flip(-1) if torch.rand(()) < 0.5 else i for i in images]}

    scenes.set_transform(transform)
    loader = DataLoader(scenes, batch_size=4, shuffle=True)
    config = tiny()
    model = make_model(config)
    optimizer = make_optimizer(config, model)
    schedule = get_cosine_schedule_with_warmup(optimizer, 2, len(loader) * config.num_epochs)
    run = train_loop(
        config, model, DDPMScheduler(num_train_timesteps=1000), optimizer, loader, schedule
    )
    assert len(run.losses) == 6


def test_fewer_pictures_than_a_batch_of_all_processes_are_refused(tiny: Make) -> None:
    config = tiny()
    dataset = PictureDataset(load_pictures("scenes:flowers", 16, num_scenes=3))
    loader = DataLoader(dataset, batch_size=4, drop_last=True, collate_fn=lambda batch: batch)
    model = make_model(config)
    optimizer = make_optimizer(config, model)
    with pytest.raises(ValueError, match="The 3 pictures do not fill a batch of 4"):
        train_loop(
            config,
            model,
            make_noise_scheduler(config),
            optimizer,
            loader,
            LambdaLR(optimizer, lambda step: 1.0),
        )
