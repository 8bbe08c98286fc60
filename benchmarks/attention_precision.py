"""Attention on a CPU, forward and backward, at the sizes of the book's models.

    python benchmarks/attention_precision.py

torch's kernel in bfloat16, the same in float32, and what `attention_on_cpu` does in training.
"""

from contextlib import nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from lib.side_by_side import side_by_side

from companion.training.attention_on_cpu import attention_on_cpu

# (batch, heads, queries, keys, width of a head) of chapter 5's UNet and the zoo's Stable Diffusion.
SIZES = {
    "chapter 5, 4 x 4": (32, 4, 16, 16, 32),
    "self-attention, 16 x 16": (32, 2, 256, 256, 32),
    "cross-attention, 16 x 16": (32, 2, 256, 77, 32),
    "self-attention, 8 x 8": (32, 2, 64, 64, 64),
    "text encoder": (32, 4, 77, 77, 24),
}


def there_and_back(
    shape: tuple[int, int, int, int, int], dtype: torch.dtype, fast: bool = False
) -> None:
    """One forward and one backward pass."""
    batch, heads, queries, keys, width = shape
    query = torch.ones(batch, heads, queries, width, dtype=dtype, requires_grad=True)
    key, value = (
        torch.ones(batch, heads, keys, width, dtype=dtype, requires_grad=True) for _ in range(2)
    )
    with attention_on_cpu() if fast else nullcontext():
        F.scaled_dot_product_attention(query, key, value).sum().backward()


def main() -> None:
    """Print one table a layer."""
    for name, shape in SIZES.items():
        print(f"\n{name}, {shape}:")
        side_by_side(
            {
                "bfloat16": partial(there_and_back, shape, torch.bfloat16),
                "float32": partial(there_and_back, shape, torch.float32),
                "attention_on_cpu": partial(there_and_back, shape, torch.bfloat16, fast=True),
            }
        )


if __name__ == "__main__":
    main()
