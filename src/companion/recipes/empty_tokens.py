"""Many tokens that say nothing, at the price of one.

A pipeline of the SD3 layout without its T5 encoder puts zeros in the place of its tokens, 256 of
them. Tokens that are equal stay equal in every layer, since nothing tells their positions, and n
equal keys weigh as much as one whose score is higher by log n.
"""

import math

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor


class OneForMany:
    """Joint attention as `JointAttnProcessor2_0` computes it, in which the last text token stands
    for `count` equal ones.

    Esser et al. 2024, "Scaling Rectified Flow Transformers", section 4.
    """

    def __init__(self) -> None:
        self.count = 1

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: None = None,
    ) -> tuple[Tensor, Tensor]:
        """Answer with the picture's states (batch, patches, width) and the text's (batch, tokens,
        width)."""
        patches = hidden_states.shape[1]
        query, key, value = (
            _heads(of_picture(hidden_states), of_text(encoder_hidden_states), attn.heads)
            for of_picture, of_text in (
                (attn.to_q, attn.add_q_proj),
                (attn.to_k, attn.add_k_proj),
                (attn.to_v, attn.add_v_proj),
            )
        )
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        if self.count > 1:
            scores[..., -1] += math.log(self.count)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        picture, text = mixed[:, :patches], mixed[:, patches:]
        if not attn.context_pre_only:
            text = attn.to_add_out(text)
        return attn.to_out[0](picture), text


def _heads(picture: Tensor, text: Tensor, heads: int) -> Tensor:
    """Both as one sequence, split: (batch, heads, patches + tokens, width of a head)."""
    return torch.cat([picture, text], dim=1).unflatten(2, (heads, -1)).transpose(1, 2)
