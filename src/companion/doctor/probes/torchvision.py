"""Imports torchvision and calls one of its compiled operators."""

from collections.abc import Iterator
from typing import Any


def facts() -> Iterator[dict[str, Any]]:
    """Its version, and that two boxes on top of each other become one."""
    import torch
    import torchvision

    yield {"version": torchvision.__version__, "torch": torch.__version__}
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.5)
    yield {"works": kept.tolist() == [0]}
