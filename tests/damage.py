"""What disks do to files, and copies on which it is done."""

import shutil
from pathlib import Path


def changeable_copy(source: Path | str, target: Path) -> Path:
    """A copy of a folder that can be changed; what was installed may be there to be read only."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for folder in (target, *target.rglob("*/")):
        folder.chmod(0o755)
    return target


def flip_a_bit(path: Path) -> None:
    """Turn one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
