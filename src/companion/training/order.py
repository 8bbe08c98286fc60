"""Order of the pictures and chance in their preparation: both follow from the seed and the epoch.

A run that was cut off then goes on with the very batches that it would have seen, without decoding
the ones before.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler


def batches_an_epoch(dataloader: DataLoader[Any]) -> int:
    """Micro-batches of an epoch in each process."""
    together = int(dataloader.batch_size or 1) * processes().num_processes
    pictures = len(dataloader.sampler)  # type: ignore[arg-type]
    return pictures // together if dataloader.drop_last else -(-pictures // together)


class RunOrder(Sampler[int]):
    """The order of a sampler, the same for one seed and epoch, from any batch on.

    Cut to whole batches of all processes where the loader drops the last one; filled up to them
    from its own beginning where several processes share it.
    """

    def __init__(self, dataloader: DataLoader[Any], seed: int) -> None:
        self._sampler = dataloader.sampler
        self._together = int(dataloader.batch_size or 1) * processes().num_processes
        self._drop_last = dataloader.drop_last
        self._seed = seed
        self.start_at(0, 0)

    def start_at(self, epoch: int, batch: int) -> None:
        """Say where the next pass begins: epoch and micro-batch of each process."""
        self._epoch = epoch
        self._start = batch * self._together

    def __iter__(self) -> Iterator[int]:
        with seeded(self._seed, self._epoch):
            own = getattr(self._sampler, "generator", None)
            if own is not None:
                own.manual_seed(random.getrandbits(32))
            order = list(self._sampler)
        over = len(order) % self._together
        if over and self._drop_last:
            order = order[:-over]
        elif over and processes().num_processes > 1:
            order += (order * self._together)[: self._together - over]
        yield from islice(order, self._start, None)

    def __len__(self) -> int:
        pictures = len(self._sampler)  # type: ignore[arg-type]
        over = pictures % self._together
        if over and self._drop_last:
            pictures -= over
        elif over and processes().num_processes > 1:
            pictures += self._together - over
        return pictures - self._start


class RepeatableItems(Dataset[Any]):
    """The items of a dataset; what its random transforms draw follows from seed and epoch."""

    def __init__(self, dataset: Dataset[Any], seed: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitems__(self, indices: list[int]) -> Any:
        """The items of a batch."""
        with seeded(self.seed, self.epoch, indices[0] + 1):
            at_once = getattr(self.dataset, "__getitems__", None)
            return at_once(indices) if at_once else [self.dataset[index] for index in indices]


def repeatable(
    dataloader: DataLoader[Any], seed: int
) -> tuple[DataLoader[Any], RunOrder, RepeatableItems]:
    """The same loader, repeatable, and the two handles that say where it begins.

    Raises:
        ValueError: not a loader of batches over a dataset that has a length.
    """
    dataset = dataloader.dataset
    if isinstance(dataset, IterableDataset) or dataloader.batch_size is None:
        raise ValueError(
            "The train_dataloader has to be a torch DataLoader with a batch_size, over a dataset "
            "with a length, so that a run that was cut off can go on from the same picture."
        )
    order, items = RunOrder(dataloader, seed), RepeatableItems(dataset, seed)
    workers = dataloader.num_workers
    return (
        DataLoader(
            items,
            batch_size=dataloader.batch_size,
            sampler=order,
            drop_last=dataloader.drop_last,
            num_workers=workers,
            collate_fn=dataloader.collate_fn,
            pin_memory=dataloader.pin_memory,
            worker_init_fn=dataloader.worker_init_fn,
            prefetch_factor=dataloader.prefetch_factor,
            multiprocessing_context=dataloader.multiprocessing_context if workers else None,
            generator=torch.Generator().manual_seed(seed),  # or it would draw from the global one
        ),
        order,
        items,
    )


@contextmanager
def generators_kept(device: torch.device) -> Iterator[None]:
    """After this, Python's, numpy's and torch's generators, also a GPU's, are as before."""
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Within, Python's, numpy's and torch's CPU generators follow from the numbers; then they are
    as before."""
    first, second, third = np.random.SeedSequence(numbers).generate_state(3).tolist()
    with generators_kept(torch.device("cpu")):
        random.seed(first)
        np.random.seed(second)
        torch.default_generator.manual_seed(third)
        yield


def processes() -> PartialState:
    """How many there are, which one this is, and its device.

    Asked before an `Accelerator` is made, accelerate takes no notice of `accelerate launch --cpu`
    by itself.
    """
    return PartialState(cpu=bool(parse_flag_from_env("ACCELERATE_USE_CPU")))
