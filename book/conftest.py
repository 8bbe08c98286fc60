"""What `pytest --nbval book/` checks beyond nbval itself.

nbval compares what cells print, and has two holes: it passes a notebook that was never
executed, and it does not look at pictures. Here a notebook without stored outputs is refused,
and each stored picture is compared with the one that the cell draws now.
"""

import base64
import binascii
import copy
import io
import itertools
import os
import re
from collections.abc import Generator, Iterator
from typing import Any

import nbformat
import numpy as np
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile
from PIL import Image

# The stored outputs were made so, see tools/run_book.py: nothing is fetched on the way.
os.environ["COMPANION_PROFILE"] = "small"
os.environ["HF_HUB_OFFLINE"] = "1"
# Two threads of a kernel that wait for each other in a spin stand in each other's way.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

PICTURES = ("image/png", "image/jpeg")
DATA_URI = re.compile(r"data:(image/(?:png|jpeg|webp|gif));base64,([A-Za-z0-9+/=\s]+)")

# Two pictures agree when they have one size and differ little after averaging over blocks of
# BLOCK x BLOCK pixels, on the scale of 0 to 255: in the mean over all blocks, and in the worst
# block, which finds one wrong picture in a large figure. Measured: 300 DDPM steps at one seed on
# a CPU's AVX-512, AVX2 and SSE units differ by at most 1 in any pixel. Noise or another picture
# differs by tens. The room between is for other processors and libraries.
BLOCK = 8
MEAN_TOLERANCE = 1.0
WORST_TOLERANCE = 8.0
# A plot of another release of Matplotlib has its texts, and what they push aside, a little
# elsewhere: its FreeType is another one (2.6.1 in 3.10, 2.14 in 3.11). Measured: by 3 pixels. Then,
# and only then, each block may lie so many pixels from its place, and the plot be so much larger.
# Error bars may be cut to other pixels beside their neighbours: measured, 10 in the worst block.
MOVES = 4
MOVED_WORST_TOLERANCE = 16.0


def decode(data: bytes) -> Image.Image:
    """Open a picture and put it on white, so that transparent pixels count as the page shows."""
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(ground, picture).convert("RGB")


def shrink(picture: Image.Image) -> np.ndarray:
    """Average over blocks; a small picture gets smaller blocks, so that 8 by 8 remain."""
    block = max(1, min(BLOCK, min(picture.size) // 8))
    return np.asarray(picture.reduce(block), dtype=np.float32)


def plotted_by(data: bytes) -> str | None:
    """Name the release of Matplotlib that a plot says it comes from; None for other pictures."""
    software = Image.open(io.BytesIO(data)).info.get("Software", "")
    return software if software.startswith("Matplotlib") else None


def distances(left: Image.Image, right: Image.Image, moves: int) -> np.ndarray:
    """Say how far each block is from the one in its place, or from the best that lies that near."""
    ground = Image.new("RGB", (left.width + 2 * moves, left.height + 2 * moves), "white")
    ground.paste(right, (moves, moves))
    blocks = shrink(left)
    places = itertools.product(range(2 * moves + 1), repeat=2)
    return np.min(
        [
            np.abs(blocks - shrink(ground.crop((x, y, x + left.width, y + left.height)))).mean(-1)
            for x, y in places
        ],
        axis=0,
    )


def picture_difference(stored: bytes, fresh: bytes) -> str | None:
    """Say in a sentence how two pictures differ, or None when they agree."""
    if stored == fresh:
        return None
    try:
        left, right = decode(stored), decode(fresh)
        plotted = plotted_by(stored), plotted_by(fresh)
    except OSError as error:  # PIL's UnidentifiedImageError is one
        return f"a picture cannot be read: {error}"
    moves = MOVES if None not in plotted and plotted[0] != plotted[1] else 0
    if max(abs(a - b) for a, b in zip(left.size, right.size, strict=True)) > moves:
        return f"stored is {left.size[0]}x{left.size[1]}, fresh is {right.size[0]}x{right.size[1]}"
    distance = distances(left, right, moves)
    mean, worst = float(distance.mean()), float(distance.max())
    worst_allowed = MOVED_WORST_TOLERANCE if moves else WORST_TOLERANCE
    if mean > MEAN_TOLERANCE or worst > worst_allowed:
        return (
            f"they differ by {mean:.1f} of 255 on average (allowed {MEAN_TOLERANCE}) "
            f"and by {worst:.1f} in the worst block (allowed {worst_allowed})"
        )
    return None


def split_pictures(outputs: list[Any]) -> tuple[list[Any], list[tuple[str, bytes]]]:
    """Take the pictures out of a cell's outputs: those of their own, and those inside text.

    Gives the outputs with a placeholder where a picture stood in a text, and the pictures in
    order with their kind. The text around a picture stays, and nbval compares it to the letter.
    """
    outputs = copy.deepcopy(outputs)
    pictures: list[tuple[str, bytes]] = []

    def note(kind: str, encoded: str) -> None:
        try:
            pictures.append((kind, base64.b64decode(encoded)))
        except binascii.Error:
            pictures.append((kind, b""))

    def placeholder(found: re.Match[str]) -> str:
        note("inside text: " + found[1], found[2])
        return f"data:{found[1]};base64,<picture {len(pictures)}>"

    for output in outputs:
        data = output.get("data", {})
        if "image/png" in data:
            data.pop("image/jpeg", None)  # PIL offers every picture twice, one is stored
        for kind in sorted(data):
            if kind in PICTURES:
                note(kind, "".join(data[kind]))
            elif isinstance(data[kind], str):
                data[kind] = DATA_URI.sub(placeholder, data[kind])
    return outputs, pictures


class CheckedCell(IPyNbCell):
    """A cell whose pictures are compared too."""

    def compare_outputs(self, test: list[Any], ref: list[Any], skip_compare: Any = None) -> bool:
        test, fresh = split_pictures(test)
        ref, stored = split_pictures(ref)
        if not super().compare_outputs(test, ref, skip_compare):
            return False
        if [kind for kind, _ in stored] != [kind for kind, _ in fresh]:
            return self.differs(
                f"the notebook stores {len(stored)} pictures {[kind for kind, _ in stored]}, "
                f"the cell draws {len(fresh)} {[kind for kind, _ in fresh]}"
            )
        for number, ((_, left), (_, right)) in enumerate(zip(stored, fresh, strict=True), 1):
            found = picture_difference(left, right)
            if found:
                return self.differs(f"picture {number}: {found}")
        return True

    def differs(self, sentence: str) -> bool:
        """Write the sentence where nbval's report of a failure takes its text from."""
        self.comparison_traceback.append(f"{self.colors.FAIL}{sentence}{self.colors.ENDC}")
        return False


class CheckedNotebook(IPyNbFile):
    """A notebook that must have been executed, from its first cell to its last."""

    def collect(self) -> Iterator[CheckedCell]:
        notebook = nbformat.read(self.path, as_version=4)
        cells = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
        counts = [cell.execution_count for cell in cells]
        if cells and (
            counts != list(range(1, len(cells) + 1)) or not any(c.outputs for c in cells)
        ):
            raise self.CollectError(
                f"{self.path.name} has code cells that were not executed in order, or no stored "
                f"outputs, so there is nothing to compare with: run `make run` and commit it."
            )
        for cell in super().collect():
            yield CheckedCell.from_parent(
                self, name=cell.name, cell_num=cell.cell_num, cell=cell.cell, options=cell.options
            )


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(parent: pytest.Collector) -> Generator[None, list[Any], list[Any]]:
    """Put our notebook in the place of nbval's."""
    collected = yield
    return [
        CheckedNotebook.from_parent(parent, path=node.path) if type(node) is IPyNbFile else node
        for node in collected
    ]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Under `pytest -n 2 --nbval book/` a notebook stays in one process: its cells build on
    each other."""
    from xdist.scheduler import LoadScopeScheduling

    return LoadScopeScheduling(config, log)
