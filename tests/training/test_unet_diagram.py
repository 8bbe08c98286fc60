"""The drawing of a UNet says what its lists build."""

import ast
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from diffusers import UNet2DModel

from companion.sources import profile_table
from companion.training import draw_unet

CHAPTER = Path(__file__).parents[2] / "book" / "text" / "05_training.md"


def settings_of(profile: str) -> dict[str, Any]:
    training = profile_table(profile)[1]["settings"]["training"]
    return {"sample_size": training["image_size"], **training["model"]}


def texts(svg: str) -> list[str]:
    return [part.text or "" for part in ElementTree.fromstring(svg).iter() if "text" in part.tag]


@pytest.mark.parametrize("profile", ["small", "full"])
def test_every_block_is_drawn_with_the_shape_that_it_gives(profile: str) -> None:
    with torch.device("meta"):
        unet = UNet2DModel(**settings_of(profile))
        shapes: list[str] = []

        def note(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            shapes.append(" × ".join(str(side) for side in output.shape[1:]))

        for block in [*unet.down_blocks, unet.mid_block, *unet.up_blocks]:
            block.resnets[-1].register_forward_hook(note)
        unet(torch.zeros(1, 3, unet.config.sample_size, unet.config.sample_size), 0)
    drawn = texts(draw_unet(unet.config).svg)
    found = [text.removesuffix(", attends") for text in drawn if re.match(r"\d+ × \d+ ×", text)]
    ends = [f"3 × {unet.config.sample_size} × {unet.config.sample_size}"] * 2
    assert sorted(found) == sorted([*shapes, *ends])


@pytest.mark.parametrize("profile", ["small", "full"])
def test_blocks_with_attention_are_marked(profile: str) -> None:
    with torch.device("meta"):
        unet = UNet2DModel(**settings_of(profile))
    attending = [
        block
        for block in [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
        if getattr(block, "attentions", None)
    ]
    drawn = texts(draw_unet(unet.config).svg)
    assert sum(text.endswith(", attends") for text in drawn) == len(attending)


def test_an_arrow_says_how_many_outputs_go_across() -> None:
    with torch.device("meta"):
        unet = UNet2DModel(**settings_of("full"))
    assert {len(block.resnets) for block in unet.up_blocks} == {3}
    assert "3 ×" in texts(draw_unet(unet.config).svg)


def test_a_model_without_a_middle_block_is_drawn() -> None:
    drawn = texts(draw_unet({**settings_of("small"), "mid_block_type": None}).svg)
    assert "no middle block" in drawn


def test_lists_of_different_lengths_are_named() -> None:
    settings = {**settings_of("small"), "block_out_channels": [32, 64]}
    with pytest.raises(ValueError, match="2 channels, 3 blocks down and 3 up"):
        draw_unet(settings)


@pytest.mark.parametrize(
    ("profile", "name"), [("small", "our_blocks"), ("full", "tutorial_blocks")]
)
def test_the_chapter_writes_out_the_lists_of_the_profile(profile: str, name: str) -> None:
    cell = re.search(rf"^{name} = dict\(\n.*?^\)$", CHAPTER.read_text("utf-8"), re.M | re.S)
    assert cell
    call = ast.parse(cell[0].split(" = ", 1)[1], mode="eval").body
    assert isinstance(call, ast.Call)
    written = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    expected = profile_table(profile)[1]["settings"]["training"]["model"]
    as_lists = {k: list(v) if isinstance(v, tuple) else v for k, v in written.items()}
    assert as_lists == expected
