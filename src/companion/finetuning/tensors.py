"""A safetensors file that is the same bytes each time: the library writes texts in any order."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor


def write_tensors(file: Path, tensors: Mapping[str, Tensor], told: Mapping[str, str]) -> None:
    """Write tensors of any device, and texts in the order of their names.

    Args:
        file: it is replaced where there is one.
        tensors: by name.
        told: texts by name: the file's metadata; "format", which some loaders ask for, is added.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = save(whole, {"format": "pt", **told})
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
