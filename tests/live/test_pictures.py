"""The page draws the pictures that Diffusers' pipelines draw, and the heat maps of the package."""

import json

import numpy as np
import pytest
import torch
from flow_pictures import FLOW_WISHES
from live_stage import SCRIPTS
from node_runner import Node
from pictures import WISHES, Wish, farthest, pipeline, psnr

from companion.attention import trace
from companion.autopipeline import make_scheduler
from companion.zoo import folder
from companion.zoo.export import export

# One of each task and sampler; the browser's test draws all.
SOME = [wish for wish in WISHES if wish.steps <= 20 and wish.seed in (0, 3, 4, 5, 7)]


def drawn(
    node: Node, settings: list[dict[str, object]], model: str = "stable-diffusion"
) -> list[dict[str, object]]:
    """What the engine answers to settings."""
    export(folder(model), node.folder)
    node.write_json("scripts", SCRIPTS)
    node.write_json("settings", settings)
    node.run("pictures.test.js")
    return json.loads((node.folder / "drawn.json").read_text())


def test_the_pictures_are_diffusers_own(node: Node) -> None:
    found = drawn(node, [wish.settings() for wish in SOME])
    assert len(found) == len(SOME) > 5
    for wish, result in zip(SOME, found, strict=True):
        ours = np.array(result["data"], dtype=np.uint8).reshape(64, 64, 4)
        assert (ours[..., 3] == 255).all()
        theirs = wish.draw()
        assert psnr(ours[..., :3], theirs) > 70, wish
        assert farthest(ours[..., :3], theirs) <= 1, wish


def test_the_pictures_of_the_flow_are_diffusers_own(node: Node) -> None:
    found = drawn(node, [wish.settings() for wish in FLOW_WISHES], "flow")
    assert len(found) == len(FLOW_WISHES)
    for wish, result in zip(FLOW_WISHES, found, strict=True):
        ours = np.array(result["data"], dtype=np.uint8).reshape(64, 64, 4)
        theirs = wish.draw()
        assert psnr(ours[..., :3], theirs) > 70, wish
        assert farthest(ours[..., :3], theirs) <= 1, wish


@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_the_heat_maps_are_companions(node: Node, guidance: float) -> None:
    wish = Wish("a robot, and a tulip on a blackboard", seed=3, guidance=guidance, steps=8)
    (result,) = drawn(node, [{**wish.settings(), "heatMaps": True}])
    pipe = pipeline()
    pipe.scheduler = make_scheduler("UniPC", pipe.scheduler)
    with trace(pipe) as maps:
        picture = pipe(
            wish.prompt,
            num_inference_steps=wish.steps,
            guidance_scale=guidance,
            generator=torch.Generator().manual_seed(wish.seed),
        ).images[0]
    theirs = maps.compute_global_heat_map().word_heat_maps()
    assert [word["text"] for word in result["words"]] == [word.word for word in theirs]
    for ours, word in zip(result["words"], theirs, strict=True):
        expected = word.expand_as(picture, absolute=True).numpy()
        np.testing.assert_allclose(
            np.reshape(ours["map"], (64, 64)), expected, atol=1e-5 * expected.max(), rtol=0
        )
