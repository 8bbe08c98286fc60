"""Make the two sprite atlases of `companion.scenes` from the two npm packages that hold the
pictures.

    npm pack @lobehub/fluent-emoji-3d@1.1.0 emoji-datasource-google@16.0.0
    tar xzf lobehub-fluent-emoji-3d-1.1.0.tgz --one-top-level=fluent
    tar xzf emoji-datasource-google-16.0.0.tgz --one-top-level=noto
    python tools/make_atlas.py --fluent fluent/package --noto noto/package

Every sprite is trimmed to what is visible and fitted into a square; the atlas lays the squares out
in the
order of `objects.toml`, row by row.
"""

import argparse
import tomllib
from pathlib import Path

from PIL import Image

SCENES = Path(__file__).parents[1] / "src" / "companion" / "scenes"
SIDE = 80  # pixels a sprite; the largest object of a 64-pixel scene is 48 pixels
COLUMNS = 9


def fit(sprite: Image.Image) -> Image.Image:
    """Trim the transparent border, then scale into a SIDE x SIDE square, centred."""
    sprite = sprite.convert("RGBA")
    sprite = sprite.crop(sprite.getchannel("A").point(lambda a: 255 * (a >= 16)).getbbox())
    scale = SIDE / max(sprite.size)
    width, height = (max(1, round(side * scale)) for side in sprite.size)
    square = Image.new("RGBA", (SIDE, SIDE))
    small = sprite.resize((width, height), Image.Resampling.BICUBIC)
    square.paste(small, ((SIDE - width) // 2, (SIDE - height) // 2))
    return square


def main() -> None:
    """Read the arguments and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--fluent", type=Path, required=True, help="folder of @lobehub/fluent-emoji-3d"
    )
    parser.add_argument(
        "--noto", type=Path, required=True, help="folder of emoji-datasource-google"
    )
    arguments = parser.parse_args()
    sources = {
        "3d": arguments.fluent / "assets/{}.webp",
        "flat": arguments.noto / "img/google/64/{}.png",
    }
    groups = tomllib.loads((SCENES / "objects.toml").read_text())
    code_points = [code for group in groups.values() for code in group.values()]
    rows = -(-len(code_points) // COLUMNS)
    for style, pattern in sources.items():
        atlas = Image.new("RGBA", (COLUMNS * SIDE, rows * SIDE))
        for index, code in enumerate(code_points):
            sprite = fit(Image.open(str(pattern).format(code)))
            atlas.paste(sprite, (index % COLUMNS * SIDE, index // COLUMNS * SIDE))
        path = SCENES / f"atlas-{style}.png"
        atlas.save(path, optimize=True)
        print(f"{path.name}: {len(code_points)} sprites, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
