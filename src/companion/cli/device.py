"""What `--device` means."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def choose_device(name: str | None) -> torch.device:
    """The device of that name, or the best there is.

    Raises:
        ValueError: there is no such device.
    """
    import torch

    from companion.profile import best_device

    try:
        return torch.device(name or best_device())
    except RuntimeError as error:
        raise ValueError(f"There is no device {name!r}; choose cuda, mps or cpu.") from error
