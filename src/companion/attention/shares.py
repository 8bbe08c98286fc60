"""Who takes how much from whom: the softmax of what was seen, some heads at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .directions import TO_PICTURE, Direction
from .queries import Seen

# Scores that are held at one time, unless a single head has more: what stays in a CPU's cache.
# Elsewhere 64 MiB, as a GPU takes as long to be told of a few heads as of all.
CHUNK_ON_CPU, CHUNK = 2**20, 2**24


@torch.no_grad()
def probabilities(
    seen: Seen, direction: Direction, tokens: slice | list[int], *, among_sources: bool = False
) -> Iterator[tuple[slice, Tensor]]:
    """Of each reader's attention, the part that each source gets: softmax(QK^T / sqrt(d)).

    Chapter 6, "Query, key, softmax".

    Args:
        seen: queries and keys of a layer.
        direction: who reads, and from what.
        tokens: which of the text's tokens to give; all take part in the softmax.
        among_sources: share out 1 among the sources of this direction, rather than among all keys.

    Yields:
        Some heads, and their probabilities in float32: from text to picture (rows, heads, tokens,
        places), so that each token has a map of the places that read it; else (rows, heads,
        readers, sources). A reader's sum over all sources is 1, or in a joint layer, what it leaves
        to them.
    """
    with torch.autocast(next(iter(seen.queries.values())).device.type, enabled=False):
        names = [direction.source] if among_sources else list(seen.keys)
        keys = torch.cat([seen.keys[name] for name in names], dim=2)
        queries = seen.queries[direction.reader]
        if direction.reader == "text":
            queries = queries[:, :, tokens]
        bias = _bias(seen, names)
        start = sum(seen.keys[name].shape[2] for name in names[: names.index(direction.source)])
        sources = slice(start, start + seen.keys[direction.source].shape[2])
        scores_per_head = keys.shape[0] * keys.shape[2] * queries.shape[2]
        chunk = CHUNK_ON_CPU if queries.device.type == "cpu" else CHUNK
        for heads in _chunks(keys.shape[1], max(1, chunk // max(1, scores_per_head))):
            # Vaswani et al. 2017, equation 1: A = softmax(Q K^T / √d), keys before queries here
            scores = (keys[:, heads] * seen.scale) @ queries[:, heads].transpose(2, 3)
            if bias is not None:
                scores += bias.unsqueeze(-1)
            shares = scores.softmax(dim=2)[:, :, sources]
            if direction.source == "text":
                shares = shares[:, :, tokens]
            yield heads, shares if direction == TO_PICTURE else shares.transpose(2, 3)


def _bias(seen: Seen, names: list[str]) -> Tensor | None:
    """(rows, 1, keys), or None where nothing is masked."""
    if seen.bias is None or not any(name in seen.bias for name in names):
        return None
    given = next(iter(seen.bias.values()))
    return torch.cat(
        [
            seen.bias.get(name, given.new_zeros(len(given), 1, seen.keys[name].shape[2]))
            for name in names
        ],
        dim=2,
    )


def _chunks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))
