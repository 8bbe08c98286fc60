"""The page's noise is torch's."""

import torch
from node_runner import Node

SEEDS = [0, 1, 42, 2**31, 2**32 - 1]
SIZES = [16, 256, 1024, 4096, 17, 24, 31, 33, 1000]
SMALL = [0, 1, 2, 3, 15]
# One stream: even and odd counts below 16, so that a second number waits, and blocks between them.
STREAM = [1, 16, 1, 3, 100, 2, 5, 640, 15, 1024]


def drawn(seed: int, sizes: list[int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([torch.randn(size, generator=generator) for size in sizes])


def test_noise_is_torchs(node: Node) -> None:
    cases = [[seed, [size]] for seed in SEEDS for size in SIZES + SMALL]
    cases += [[seed, sizes] for seed in SEEDS for sizes in (STREAM, [1024] * 20)]
    node.write_json("cases", cases)
    for i, (seed, sizes) in enumerate(cases):
        node.write_array(f"noise-{i}", drawn(seed, sizes))
    node.run("noise.test.js")
