"""Noise, order and flips follow from the seed, however the pictures are shared out."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, WeightedRandomSampler

from companion.training import PictureDataset, draw_noise, picture_loader
from companion.training.order import batches_an_epoch, repeatable


class Numbers(Dataset):
    """Numbers, each with something drawn at random beside it."""

    def __init__(self, size: int = 11) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[int, float, float]:
        return index, float(torch.rand(())), float(np.random.rand())


def passes(loader: DataLoader, epoch: int, batch: int = 0, seed: int = 0) -> list[Any]:
    again, order, items = repeatable(loader, seed)
    items.epoch = epoch
    order.start_at(epoch, batch)
    return [[part.tolist() for part in batch] for batch in again]


def test_the_noise_of_a_picture_follows_from_its_number_alone() -> None:
    images = torch.zeros(6, 3, 4, 4)
    noise, t = draw_noise(images, 1000, seed=3, first=10)
    later_noise, later_t = draw_noise(images[:2], 1000, seed=3, first=14)
    assert torch.equal(noise[4:], later_noise)
    assert torch.equal(t[4:], later_t)
    assert not torch.equal(draw_noise(images, 1000, seed=4, first=10)[0], noise)


def test_noise_is_gaussian_and_timesteps_are_uniform() -> None:
    noise, t = draw_noise(torch.zeros(2000, 1, 8, 8), 10, seed=0, first=0)
    assert noise.mean().abs() < 0.01
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert (noise[1:] * noise[:-1]).mean().abs() < 0.01  # neighbours have nothing in common
    counts = t.bincount(minlength=10)
    assert len(counts) == 10
    assert ((counts - 200).abs() < 60).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_be_entered_at_any_batch(workers: int) -> None:
    loader = DataLoader(Numbers(), batch_size=3, shuffle=True, num_workers=workers)
    whole = passes(loader, epoch=2)
    assert len(whole) == batches_an_epoch(loader) == 4
    assert passes(loader, epoch=2, batch=3) == whole[3:]
    assert passes(loader, epoch=2, batch=4) == []


@pytest.mark.slow
def test_a_worker_that_starts_anew_as_on_windows_gives_the_same_pictures() -> None:
    pixels = torch.arange(6 * 3 * 4 * 4).reshape(6, 3, 4, 4).to(torch.uint8)
    plain = picture_loader(PictureDataset(pixels), batch_size=3)
    spawned = DataLoader(
        plain.dataset,
        batch_size=3,
        shuffle=True,
        collate_fn=plain.collate_fn,
        num_workers=1,
        multiprocessing_context="spawn",
    )
    first, second = ([*repeatable(loader, seed=0)[0]] for loader in (plain, spawned))
    assert len(first) == 2
    for mine, theirs in zip(first, second, strict=True):
        assert torch.equal(mine["images"], theirs["images"])


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    loader = DataLoader(Numbers(), batch_size=11, shuffle=True)
    orders = [passes(loader, epoch, seed=seed)[0][0] for epoch, seed in ((0, 0), (1, 0), (0, 1))]
    assert [sorted(order) for order in orders] == [list(range(11))] * 3
    assert len({tuple(order) for order in orders}) == 3


def test_random_transforms_draw_something_else_each_time() -> None:
    loader = DataLoader(Numbers(), batch_size=3)
    drawn = [number for epoch in (0, 1) for batch in passes(loader, epoch) for number in batch[1]]
    assert len(set(drawn)) == 22


def test_a_loader_without_shuffling_keeps_its_order() -> None:
    assert passes(DataLoader(Numbers(), batch_size=11), epoch=5)[0][0] == list(range(11))


@pytest.mark.parametrize("generator", [None, torch.Generator()])
def test_a_sampler_of_ones_own_is_repeated_too(generator: torch.Generator | None) -> None:
    sampler = WeightedRandomSampler([1.0] * 11, num_samples=6, generator=generator)
    loader = DataLoader(Numbers(), batch_size=2, sampler=sampler)
    assert passes(loader, epoch=1, batch=1) == passes(loader, epoch=1)[1:]


def test_a_batch_that_is_not_full_is_dropped_where_the_loader_says_so() -> None:
    loader = DataLoader(Numbers(), batch_size=3, drop_last=True)
    assert [len(batch[0]) for batch in passes(loader, epoch=0)] == [3, 3, 3]
    assert batches_an_epoch(loader) == 3


def test_the_global_generators_are_left_as_they_were() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(3).tolist(), np.random.rand(3).tolist()
    torch.manual_seed(0)
    np.random.seed(0)
    passes(DataLoader(Numbers(), batch_size=3, shuffle=True), epoch=0)
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist()) == expected


def test_data_without_a_length_is_refused() -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> Any:
            yield from range(3)

    with pytest.raises(ValueError, match="over a dataset with a length"):
        repeatable(DataLoader(Stream(), batch_size=1), seed=0)
