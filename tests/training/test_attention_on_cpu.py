"""The exchanged attention function computes what torch's own does."""

import pytest
import torch
import torch.nn.functional as F

from companion.training.attention_on_cpu import attention_on_cpu


@pytest.mark.parametrize("keys", [16, 200])
@pytest.mark.parametrize("how", ["plain", "mask", "is_causal", "scale"])
def test_it_is_torchs_attention(keys: int, how: str) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, keys, 8, generator=generator) for _ in range(3))
    arguments = {
        "plain": {},
        "mask": {"attn_mask": torch.randn(keys, keys, generator=generator)},
        "is_causal": {"is_causal": True},
        "scale": {"scale": 0.1},
    }[how]
    expected = F.scaled_dot_product_attention(query, key, value, **arguments)
    with attention_on_cpu():
        answer = F.scaled_dot_product_attention(query, key, value, **arguments)
    torch.testing.assert_close(answer, expected)


def test_it_answers_in_the_type_of_its_inputs_and_is_put_back() -> None:
    stock = F.scaled_dot_product_attention
    for keys in (16, 200):
        query = torch.randn(1, 1, keys, 8, dtype=torch.bfloat16)
        with attention_on_cpu():
            assert F.scaled_dot_product_attention(query, query, query).dtype == torch.bfloat16
    assert F.scaled_dot_product_attention is stock


def test_it_is_put_back_after_an_error() -> None:
    stock = F.scaled_dot_product_attention

    def stop() -> None:
        assert F.scaled_dot_product_attention is not stock
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), attention_on_cpu():
        stop()
    assert F.scaled_dot_product_attention is stock
