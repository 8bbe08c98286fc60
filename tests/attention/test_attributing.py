"""Pictures that exist, looked at once."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image

from companion.attention import attribute
from companion.attention.tracing import tokens_of
from companion.scenes import scene

SCENES = [scene(seed) for seed in range(4)]


def test_a_words_map_is_higher_on_its_object(pipe: Any) -> None:
    maps = attribute(
        pipe, [example.image for example in SCENES], [example.caption for example in SCENES]
    )
    for i, example in enumerate(SCENES):
        heat_map = maps.compute_global_heat_map(image_idx=i)
        for placed, mask in zip(example.objects, torch.from_numpy(example.masks), strict=True):
            found = heat_map.compute_word_heat_map(placed.name).expand_as(example.image)
            assert found[mask].mean() > 1.5 * found[~mask].mean()


def test_the_unet_runs_once_for_each_timestep(pipe: Any, recorded: Any) -> None:
    with recorded(pipe.unet) as reference:
        maps = attribute(
            pipe, SCENES[0].image, SCENES[0].caption, [100, 400], by=("step", "layer", "head")
        )
    assert maps.timesteps == [100, 400]
    found = maps.compute_global_heat_map().heat_maps
    torch.testing.assert_close(
        found, reference.heat_maps(maps, 0)[: len(found)], atol=1e-6, rtol=1e-5
    )
    alone = attribute(pipe, SCENES[0].image, SCENES[0].caption, 400)
    torch.testing.assert_close(
        maps.compute_global_heat_map(step_idx=1).heat_maps,
        alone.compute_global_heat_map().heat_maps,
    )


def test_a_pictures_maps_do_not_depend_on_the_others(pipe: Any) -> None:
    both = attribute(pipe, [s.image for s in SCENES[:2]], ["a cat", "a moon"], seeds=[3, 4])
    second = attribute(pipe, SCENES[1].image, "a moon", seeds=4)
    torch.testing.assert_close(
        both.compute_global_heat_map(image_idx=1).heat_maps,
        second.compute_global_heat_map().heat_maps,
        atol=1e-5,
        rtol=1e-4,
    )


def test_a_wide_picture(pipe: Any) -> None:
    maps = attribute(pipe, Image.new("RGB", (96, 32), "red"), "a cat")
    assert maps.compute_global_heat_map().heat_maps.shape[1:] == (8, 24)


def test_sdxl(sdxl: Any, recorded: Any) -> None:
    with recorded(sdxl.unet) as reference:
        maps = attribute(sdxl, [SCENES[0].image] * 2, ["a cat", "a moon"], seeds=[1, 2])
    found = maps.compute_global_heat_map(image_idx=1).heat_maps
    torch.testing.assert_close(
        found, reference.heat_maps(maps, 1)[: len(found)], atol=1e-6, rtol=1e-5
    )


def test_a_vae_that_overflows_in_half_precision_encodes_in_single(sdxl: Any) -> None:
    picture, own = SCENES[0].image, copy.copy(sdxl)
    expected = attribute(own, picture, "a cat").compute_global_heat_map()
    own.vae = copy.deepcopy(own.vae).half()
    assert own.vae.config.force_upcast
    found = attribute(own, picture, "a cat").compute_global_heat_map()
    assert own.vae.dtype == torch.float16
    torch.testing.assert_close(found.heat_maps, expected.heat_maps, atol=1e-3, rtol=1e-2)


def test_the_vae_has_its_precision_back_when_it_raises(
    sdxl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(_: Any) -> None:
        raise MemoryError

    own = copy.copy(sdxl)
    own.vae = copy.deepcopy(own.vae).half()
    monkeypatch.setattr(own.vae, "encode", encode)
    with pytest.raises(MemoryError):
        attribute(own, SCENES[0].image, "a cat")
    assert own.vae.dtype == torch.float16


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"prompt": ["a cat"] * 2}, "There are 1 pictures, 2 prompts and 1 seeds"),
        ({"seeds": [1, 2]}, "There are 1 pictures, 1 prompts and 2 seeds"),
        ({"timesteps": 1000}, "but the model knows 0 to 999"),
        ({"timesteps": []}, "but the model knows 0 to 999"),
        (
            {"image": [Image.new("RGB", (64, 64)), Image.new("RGB", (32, 64))]}
            | {"prompt": ["a", "b"]},
            "several sizes",
        ),
    ],
)
def test_what_does_not_fit_is_said(pipe: Any, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        attribute(pipe, **{"image": SCENES[0].image, "prompt": "a cat", **given})


def test_a_pipeline_without_a_unet_is_refused(pipe: Any) -> None:
    other = StableDiffusionInpaintPipeline(**pipe.components, requires_safety_checker=False)
    other.unet = None
    with pytest.raises(ValueError, match="attribute needs a text-to-image pipeline"):
        attribute(other, SCENES[0].image, "a cat")


def test_a_picture_of_any_mode_counts_as_what_it_shows(pipe: Any) -> None:
    grey = SCENES[0].image.convert("L")
    expected = attribute(pipe, grey.convert("RGB"), "a cat").compute_global_heat_map().heat_maps
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for image in (grey, grey.convert("RGBA"), grey.convert("CMYK"), sixteen):
        found = attribute(pipe, image, "a cat").compute_global_heat_map().heat_maps
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0.1)


def test_a_photograph_is_turned_as_it_says(pipe: Any, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (96, 32), "red").save(tmp_path / "photo.jpg", exif=exif)
    with Image.open(tmp_path / "photo.jpg") as photo:
        heat_map = attribute(pipe, photo, "a cat").compute_global_heat_map()
        assert heat_map.heat_maps.shape[1:] == (24, 8)
        assert heat_map.compute_word_heat_map("cat").expand_as(photo).shape == (96, 32)


def test_numpys_integers_are_seeds_and_timesteps(pipe: Any) -> None:
    image = SCENES[0].image
    maps = attribute(pipe, image, "a cat", np.int64(100), seeds=np.int32(3))
    same = attribute(pipe, image, "a cat", 100, seeds=3)
    assert torch.equal(
        maps.compute_global_heat_map().heat_maps, same.compute_global_heat_map().heat_maps
    )


def test_what_is_no_picture_is_refused(pipe: Any) -> None:
    with pytest.raises(ValueError, match=r"open it with Image\.open"):
        attribute(pipe, ["cat.png"], "a cat")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"image": None}, "has to be a PIL image"),
        ({"image": 5}, "has to be a PIL image"),
        ({"image": Image.new("RGB", (2, 2))}, "2x2 pixels has no latents: give one of at least 4"),
        ({"prompt": None}, "A prompt is a text, but NoneType was given"),
        ({"prompt": [5]}, "A prompt is a text, but int was given"),
        ({"prompt": "\ud800"}, "A prompt holds bytes that are no UTF-8"),
        ({"timesteps": "x"}, "A timestep is 'x', but it is a whole number"),
        ({"timesteps": None}, "A timestep is None, but it is a whole number"),
        ({"timesteps": 1.5}, "A timestep is 1.5, but it is a whole number"),
        ({"timesteps": [float("nan")]}, "A timestep is nan, but it is a whole number"),
        ({"seeds": None}, "A seed is None, but it is a whole number"),
        ({"seeds": 2**70}, "A seed has 64 bits at most"),
        ({"by": 5}, r"by=\[5\] names nothing that can be kept apart"),
        ({"by": [["step"]]}, r"by=\[\['step'\]\] names nothing"),
        ({"pipe": None}, "attribute needs a text-to-image pipeline"),
    ],
)
def test_odd_input_is_said_in_one_sentence(pipe: Any, given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        attribute(**{"pipe": pipe, "image": SCENES[0].image, "prompt": "a cat", **given})
    assert str(caught.value).endswith(".")


def test_numbers_of_numpy_and_torch_are_timesteps_and_seeds(pipe: Any) -> None:
    images, prompts = [example.image for example in SCENES[:2]], ["a cat", "a moon"]
    maps = attribute(pipe, images, prompts, np.array([1, 2]), seeds=torch.tensor([3, 4]))
    assert maps.timesteps == [1, 2]
    maps = attribute(pipe, images, prompts, torch.tensor(2), seeds=np.int64(3))
    assert maps.timesteps == [2]


def test_what_is_no_word_or_number_of_a_map_is_refused(pipe: Any) -> None:
    maps = attribute(pipe, SCENES[0].image, "a cat")
    for given, says in (
        ({"prompt": 5}, "The prompt is a text, but int was given"),
        ({"head_idx": "x"}, "head_idx is 'x', but it is a whole number"),
        ({"image_idx": None}, "image_idx is None, but it is a whole number"),
    ):
        with pytest.raises(ValueError, match=says):
            maps.compute_global_heat_map(**given)
    for word in (5, ["cat"], b"cat"):
        with pytest.raises(ValueError, match="A word or phrase is a text, but"):
            maps.compute_global_heat_map().compute_word_heat_map(word)


def test_what_has_no_tokens_is_refused(pipe: Any) -> None:
    for prompt, says in ((None, "The prompt is a text, but"), ("\ud800", "no UTF-8")):
        with pytest.raises(ValueError, match=says):
            tokens_of(pipe, prompt)
    with pytest.raises(ValueError, match="A NoneType encodes no prompt: give a pipeline"):
        tokens_of(None, "a cat")
