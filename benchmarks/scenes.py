"""How fast scenes are made, beside decoding the same scenes from PNG bytes.

python benchmarks/scenes.py
"""

import io

from lib.side_by_side import side_by_side
from PIL import Image

from companion.scenes import scene

COUNT = 1000


def png(seed: int) -> bytes:
    """A scene as a PNG file would hold it."""
    buffer = io.BytesIO()
    scene(seed).image.save(buffer, "png")
    return buffer.getvalue()


def main() -> None:
    """Print the table for 1,000 scenes of 64 x 64 pixels, on one core."""
    files = [png(seed) for seed in range(COUNT)]
    print(f"{COUNT} scenes of 64 x 64:")
    side_by_side(
        {
            "decoded from PNG": lambda: [Image.open(io.BytesIO(f)).convert("RGB") for f in files],
            "made on the fly": lambda: [scene(seed) for seed in range(COUNT)],
        }
    )


if __name__ == "__main__":
    main()
