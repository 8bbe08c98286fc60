"""Names of other libraries that they do not promise to keep, where `attention` uses them: an
upgrade that takes one away is seen here."""

import torch
from diffusers import DiffusionPipeline
from torch import nn

from companion.attention.tracing import uncompiled


def test_torch_keeps_what_it_compiled_and_marks_the_parts_that_are() -> None:
    layer = nn.Linear(2, 2)
    assert torch.compile(layer)._orig_mod is layer
    assert uncompiled(torch.compile(layer)) is uncompiled(layer) is layer
    assert layer._compiled_call_impl is None
    layer.compile()
    assert callable(layer._compiled_call_impl)


def test_a_pipeline_says_where_it_computes() -> None:
    assert isinstance(DiffusionPipeline._execution_device, property)
