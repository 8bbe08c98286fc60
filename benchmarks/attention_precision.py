"""Attention in bfloat16 against float32, forward and backward, at the sizes of the zoo's UNet.

    python benchmarks/attention_precision.py

On a CPU the trainer of the zoo keeps attention in float32 while the rest runs in bfloat16.
"""

from functools import partial

import torch
import torch.nn.functional as F
from side_by_side import side_by_side

# (batch, heads, queries, keys, width of a head) of the layers of the zoo's Stable Diffusion.
SIZES = {
    "self-attention, 16 x 16": (32, 2, 256, 256, 32),
    "cross-attention, 16 x 16": (32, 2, 256, 77, 32),
    "self-attention, 8 x 8": (32, 2, 64, 64, 64),
    "text encoder": (32, 4, 77, 77, 24),
}


def there_and_back(shape: tuple[int, int, int, int, int], dtype: torch.dtype) -> None:
    """One forward and one backward pass."""
    batch, heads, queries, keys, width = shape
    query = torch.ones(batch, heads, queries, width, dtype=dtype, requires_grad=True)
    key, value = (
        torch.ones(batch, heads, keys, width, dtype=dtype, requires_grad=True) for _ in range(2)
    )
    F.scaled_dot_product_attention(query, key, value).sum().backward()


def main() -> None:
    """Print one table a layer."""
    for name, shape in SIZES.items():
        print(f"\n{name}, {shape}:")
        side_by_side(
            {
                str(dtype).removeprefix("torch."): partial(there_and_back, shape, dtype)
                for dtype in (torch.bfloat16, torch.float32)
            }
        )


if __name__ == "__main__":
    main()
