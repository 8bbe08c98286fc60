"""What every measure begins with: scenes that no training saw."""

from collections.abc import Iterator

from torch import Tensor
from tqdm.auto import tqdm

from companion.recipes.pictures import scene_batch
from companion.scenes import HELD_OUT, Scene


def held_out(subset: str, count: int, batch: int) -> Iterator[tuple[int, Tensor, list[Scene]]]:
    """Held-out scenes of 64x64 in batches, behind a progress bar.

    Yields:
        The number of the batch's first scene, the pictures (batch, 3, 64, 64) in -1..1, and the
        scenes.
    """
    for start in tqdm(range(0, count, batch), desc="held-out scenes", unit="batch"):
        seeds = range(HELD_OUT + start, HELD_OUT + start + batch)
        yield start, *scene_batch(seeds, subset, 64)
