"""What one paints with, and the light of a word, beside what Python has."""

import re
import tomllib
from importlib.resources import files

import numpy as np
from node_runner import Node
from PIL import Image

from companion import figures
from companion.attention.explorer import stretch


def test_painting(node: Node) -> None:
    palette = tomllib.loads((files("companion.scenes") / "palette.toml").read_text("utf-8"))
    node.write_json("palette", palette["colours"])
    shades = np.random.default_rng(0)
    pixels = shades.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), dtype=bool)
    mask[5:30, 9:50] = True
    html = figures.stage(
        "paint",
        alt="Noise",
        title="Noise",
        picture=Image.fromarray(pixels),
        start=Image.fromarray(pixels),
        mask=Image.fromarray(mask),
    )._repr_html_()
    node.write_json("figure", dict(re.findall(r' data-(start|mask)="([^"]+)"', html)))
    node.write_json("pixels", pixels.ravel().tolist())
    # A latent is four pixels wide, and takes what stands at the first of them.
    node.write_json(
        "repainted", mask[::4, ::4].repeat(4, 0).repeat(4, 1).ravel().astype(int).tolist()
    )
    heat = shades.normal(size=(64, 64))
    node.write_array("map", heat)
    node.write_array("light", stretch(heat))
    node.run("painting.test.js")
