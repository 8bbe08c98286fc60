"""Asks Jupyter which Python its kernel `python3` starts."""

from collections.abc import Iterator
from typing import Any


def facts() -> Iterator[dict[str, Any]]:
    """The kernel's command and where it is described."""
    from jupyter_client.kernelspec import KernelSpecManager

    spec = KernelSpecManager().get_kernel_spec("python3")
    yield {"argv": spec.argv, "folder": spec.resource_dir}
