"""Attention the fastest way that a CPU has, while all else runs in bfloat16 under autocast."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FEW_KEYS = 128  # up to here two matrix products are faster than torch's fused kernel

_stock = F.scaled_dot_product_attention


@contextmanager
def attention_on_cpu() -> Iterator[None]:
    """Within, `scaled_dot_product_attention` is fast in bfloat16; it answers in its inputs' type.

    torch's fused kernel is slow in bfloat16 on a CPU. Few keys without a mask are attended to by
    plain matrix products instead, all else by that kernel in float32. Autocast turns the inputs
    into bfloat16 and has no setting against it, so the function is exchanged for the while.
    `benchmarks/attention_precision.py` shows what each way takes.
    """
    before = F.scaled_dot_product_attention
    exchanged: Callable[..., Tensor] = _attention
    F.scaled_dot_product_attention = exchanged
    try:
        yield
    finally:
        F.scaled_dot_product_attention = before


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **rest: Any
) -> Tensor:
    if attn_mask is None and not any(rest.values()) and key.shape[-2] <= FEW_KEYS:
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        return scores.softmax(-1) @ value
    if attn_mask is not None and attn_mask.is_floating_point():
        attn_mask = attn_mask.float()
    with torch.autocast(query.device.type, enabled=False):
        answer = _stock(query.float(), key.float(), value.float(), attn_mask, **rest)
    return answer.to(query.dtype)
