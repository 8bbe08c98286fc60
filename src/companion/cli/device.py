"""What `--device` means."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def choose_device(name: str | None) -> torch.device:
    """The device of that name, or the best there is.

    Args:
        name: cuda, mps or cpu; with a number behind a colon one of several, such as cuda:1.

    Raises:
        ValueError: there is no such device on this machine.
    """
    import torch

    from companion.profile import best_device

    if name is None:
        return torch.device(best_device())
    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there[:0] = ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if name not in there:
        raise ValueError(f"There is no device {name!r} here; there are: {', '.join(there)}.")
    return torch.device(name)
