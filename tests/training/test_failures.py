"""What goes wrong is one sentence, and nothing that was written before is lost."""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from companion.training import (
    PictureDataset,
    TrainingConfig,
    cosine_schedule,
    load_pictures,
    make_model,
    make_noise_scheduler,
    make_optimizer,
    picture_loader,
    train,
    train_loop,
)
from needs import fork_context, forks

Make = Callable[..., TrainingConfig]


class Spoiling(PictureDataset):
    """Pictures that turn into nonsense at one batch."""

    def __init__(self, pixels: torch.Tensor, at: int) -> None:
        super().__init__(pixels)
        self.at = at
        self.seen = 0

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        self.seen += 1
        batch = super().__getitems__(indices)
        return {"images": batch["images"] * (float("nan") if self.seen == self.at else 1)}


@pytest.mark.parametrize("log_every", [1, 5])
def test_a_loss_that_is_no_number_stops_with_step_batch_and_last_good_checkpoint(
    tiny: Make, log_every: int
) -> None:
    config = tiny(log_every=log_every)
    loader = picture_loader(Spoiling(load_pictures("scenes:flowers", 16, num_scenes=14), at=6), 4)
    model = make_model(config)
    optimizer = make_optimizer(config, model)
    schedule = cosine_schedule(config, optimizer, loader)
    with pytest.raises(
        FloatingPointError, match=r"loss is nan at step 6 \(batch 3 of epoch 2\).*checkpoint-0{7}4"
    ):
        train_loop(config, model, make_noise_scheduler(config), optimizer, loader, schedule)
    kept = sorted(path.name for path in (Path(config.output_dir) / "checkpoints").iterdir())
    assert kept == ["checkpoint-00000002", "checkpoint-00000004"]
    resumed = train(replace(config, resume=True))
    assert len(resumed.losses) == 9


class TooLarge(PictureDataset):
    """Pictures for which there is no room."""

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def test_too_little_memory_is_one_sentence_that_says_what_to_lower(tiny: Make) -> None:
    config = tiny()
    loader = picture_loader(TooLarge(load_pictures("scenes:flowers", 16, num_scenes=14)), 4)
    model = make_model(config)
    optimizer = make_optimizer(config, model)
    schedule = cosine_schedule(config, optimizer, loader)
    with pytest.raises(RuntimeError, match=r"does not suffice for batches of 4 .* lower train_b"):
        train_loop(config, model, make_noise_scheduler(config), optimizer, loader, schedule)


def test_a_run_in_the_folder_is_not_overwritten_unasked(tiny: Make) -> None:
    before = train(tiny())
    with pytest.raises(FileExistsError, match="holds a training run already: resume goes on"):
        train(tiny(seed=1))
    assert train(tiny(resume=True)).losses == before.losses
    assert train(tiny(seed=1, overwrite_output_dir=True)).losses != before.losses


def test_other_files_in_the_folder_survive_overwriting(tiny: Make) -> None:
    folder = train(tiny()).folder
    (folder / "mine.txt").write_text("precious")
    train(tiny(overwrite_output_dir=True))
    assert (folder / "mine.txt").read_text() == "precious"


def test_resuming_where_nothing_is_begins(tiny: Make) -> None:
    assert len(train(tiny(resume=True)).losses) == 9


def test_a_finished_run_can_be_trained_longer(tiny: Make) -> None:
    first = train(tiny())
    longer = train(tiny(num_epochs=5, resume=True))
    assert len(longer.losses) == 15
    assert longer.losses[:9] == first.losses


def test_resuming_with_settings_that_do_not_fit_is_refused(tiny: Make) -> None:
    train(tiny())
    with pytest.raises(ValueError, match="made with train_batch_size = 4, but this run has 2"):
        train(tiny(train_batch_size=2, resume=True))


def test_a_damaged_checkpoint_is_named(tiny: Make) -> None:
    folder = train(tiny()).folder
    newest = folder / "checkpoints" / "checkpoint-00000009"
    (newest / "optimizer.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match=r"checkpoint-00000009 is damaged.*the one before"):
        train(tiny(resume=True))


def train_in_little_room(config: TrainingConfig, answers: Any) -> None:
    """As on a disk with room for 20 kB a file."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    try:
        train(config)
    except OSError as error:
        answers.put(str(error))


@forks
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_room(
    tiny: Make, tmp_path: Path
) -> None:
    whole = train(tiny(output_dir=str(tmp_path / "whole")))
    config = tiny()
    train(replace(config, num_epochs=1, lr_warmup_steps=2))
    kept = Path(config.output_dir) / "checkpoints"
    before = sorted(path.name for path in kept.iterdir())
    fork = fork_context()
    answers = fork.SimpleQueue()
    child = fork.Process(target=train_in_little_room, args=(replace(config, resume=True), answers))
    child.start()
    sentence = answers.get()
    child.join()
    assert "checkpoint of step 4 could not be written" in sentence
    assert f"the last whole checkpoint is {kept / before[-1]}" in sentence
    assert sorted(path.name for path in kept.iterdir()) == before
    assert len(train(replace(config, resume=True)).losses) == len(whole.losses)


def _die_after(config: TrainingConfig, seconds: float) -> bool:
    """Train in a process that is killed after a while; whether it was done before."""
    child = fork_context().Process(target=train, args=(config,))
    child.start()
    child.join(seconds)
    done = child.exitcode is not None
    assert child.exitcode in (None, 0)
    child.kill()
    child.join()
    return done


@forks
@pytest.mark.slow
def test_killed_at_fifty_random_moments_it_always_goes_on_to_the_same_end(
    tiny: Make, tmp_path: Path
) -> None:
    config = tiny(checkpoint_every=1, num_epochs=2, save_image_epochs=1, save_model_epochs=1)
    began = time.monotonic()
    whole = train(config)
    lasts = time.monotonic() - began
    moments, kills, round_ = random.Random(0), 0, 0
    while kills < 50:
        cut = replace(config, output_dir=str(tmp_path / f"cut-{round_}"), resume=True)
        # On a busy machine a child may never come further than the one before: kills are counted.
        while kills < 50 and not _die_after(cut, moments.uniform(0, 1) * lasts):
            kills += 1
        run = train(cut)
        assert run.losses == whole.losses
        assert (run.folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == (
            whole.folder / "unet" / "diffusion_pytorch_model.safetensors"
        ).read_bytes()
        round_ += 1
