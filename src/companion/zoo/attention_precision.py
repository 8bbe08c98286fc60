"""Attention in float32 while everything else runs in bfloat16 under autocast."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@contextmanager
def attention_in_float32() -> Iterator[None]:
    """Within, `scaled_dot_product_attention` computes in float32 and answers in its inputs' type.

    Autocast turns this function's inputs into bfloat16 and has no setting against it, so the
    function is exchanged for the while. `benchmarks/attention_precision.py` shows why.
    """
    stock = F.scaled_dot_product_attention

    def in_float32(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **rest: Any
    ) -> Tensor:
        if attn_mask is not None and attn_mask.is_floating_point():
            attn_mask = attn_mask.float()
        with torch.autocast(query.device.type, enabled=False):
            answer = stock(query.float(), key.float(), value.float(), attn_mask, **rest)
        return answer.to(query.dtype)

    F.scaled_dot_product_attention = in_float32  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = stock
