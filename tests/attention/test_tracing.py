"""Beyond daam's ground, the maps are those of the softmax written out, layer by layer."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from companion.attention import trace
from companion.zoo import folder

Draw = Callable[..., np.ndarray]
CAT, ROCKET = "a cat on a blue background", "a rocket above a moon"
PICTURE = Image.effect_noise((64, 64), 90).convert("RGB")


def assert_as_written_out(
    pipe: Any, recorded: Any, run: Callable[[], Any], rows: list[int], *, negative: bool = False
) -> Any:
    """Trace the run, and compare each picture's map with that of its row of the batch."""
    with recorded(pipe.unet) as reference, trace(pipe, negative=negative) as maps:
        run()
    assert len(maps.prompts) == len(rows)
    for image_idx, row in enumerate(rows):
        ours = maps.compute_global_heat_map(image_idx=image_idx).heat_maps
        expected = reference.heat_maps(maps, row)[: len(ours)]
        assert expected.std() > 1e-4
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)
    return maps


def test_several_prompts_and_pictures(pipe: Any, recorded: Any, draw: Draw) -> None:
    maps = assert_as_written_out(
        pipe,
        recorded,
        lambda: draw(pipe, [CAT, ROCKET], num_images_per_prompt=2),
        rows=[4, 5, 6, 7],
    )
    assert [prompt.prompt for prompt in maps.prompts] == [CAT, CAT, ROCKET, ROCKET]
    assert maps.compute_global_heat_map(image_idx=3).words == ["a", "rocket", "above", "a", "moon"]


@pytest.mark.parametrize(("height", "width"), [(32, 96), (72, 40)])
def test_any_height_and_width(
    pipe: Any, recorded: Any, draw: Draw, height: int, width: int
) -> None:
    maps = assert_as_written_out(
        pipe, recorded, lambda: draw(pipe, height=height, width=width), rows=[1]
    )
    shape = maps.compute_global_heat_map().heat_maps.shape
    assert shape[1:] == (height // 4, width // 4)
    assert maps.factors() == [1, 2]


def test_guidance_off(pipe: Any, recorded: Any, draw: Draw) -> None:
    assert_as_written_out(
        pipe, recorded, lambda: draw(pipe, [CAT, ROCKET], guidance_scale=1.0), rows=[0, 1]
    )


def test_guidance_turned_off_on_the_way(pipe: Any, recorded: Any, draw: Draw) -> None:
    def turn_off(pipe: Any, step: int, t: int, given: dict[str, Any]) -> dict[str, Any]:
        pipe._guidance_scale = 0.0
        return {"prompt_embeds": given["prompt_embeds"][-1:]}

    given = {
        "callback_on_step_end": turn_off,
        "callback_on_step_end_tensor_inputs": ["prompt_embeds"],
    }
    # The recorder's sum broadcasts the later, smaller batches to both rows.
    maps = assert_as_written_out(pipe, recorded, lambda: draw(pipe, **given), rows=[1])
    assert maps.steps == 4


def test_image_to_image(pipe: Any, recorded: Any, draw: Draw) -> None:
    other = StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    maps = assert_as_written_out(
        other, recorded, lambda: draw(other, image=PICTURE, strength=0.7), rows=[1]
    )
    assert maps.steps == 3


def test_inpainting(pipe: Any, recorded: Any, draw: Draw) -> None:
    other = StableDiffusionInpaintPipeline(**pipe.components, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 48))
    given = {"image": PICTURE, "mask_image": mask, "height": 64, "width": 64}
    assert_as_written_out(other, recorded, lambda: draw(other, **given), rows=[1])


def test_the_other_half_beside_a_negative_prompt(pipe: Any, recorded: Any, draw: Draw) -> None:
    assert_as_written_out(
        pipe, recorded, lambda: draw(pipe, negative_prompt="a red background"), rows=[1]
    )


def test_the_negative_prompt_itself(pipe: Any, recorded: Any, draw: Draw) -> None:
    maps = assert_as_written_out(
        pipe,
        recorded,
        lambda: draw(pipe, [CAT, ROCKET], negative_prompt=["", "a red background"]),
        rows=[0, 1],
        negative=True,
    )
    assert maps.compute_global_heat_map(image_idx=1).words == ["a", "red", "background"]


def test_no_negative_prompt_is_an_empty_one(pipe: Any, recorded: Any, draw: Draw) -> None:
    maps = assert_as_written_out(pipe, recorded, lambda: draw(pipe), rows=[0], negative=True)
    assert maps.compute_global_heat_map().words == []


def test_no_negative_prompt_without_guidance(pipe: Any, draw: Draw) -> None:
    with (
        pytest.raises(ValueError, match="Without guidance the negative prompt takes no part"),
        trace(pipe, negative=True),
    ):
        draw(pipe, guidance_scale=1.0)


def test_sdxl(sdxl: StableDiffusionXLPipeline, recorded: Any, draw: Draw) -> None:
    maps = assert_as_written_out(
        sdxl, recorded, lambda: draw(sdxl, [CAT, ROCKET], height=64, width=96), rows=[2, 3]
    )
    assert maps.factors() == [2, 4]
    assert len(maps.layers) == 9
    assert set(maps.heads) == {4, 8}
    few = maps.heads.index(4)
    with pytest.raises(ValueError, match=f"No layer fits layer_idx={few}, head_idx=5"):
        maps.compute_global_heat_map(layer_idx=few, head_idx=5)


def test_sdxls_second_prompt(sdxl: StableDiffusionXLPipeline, recorded: Any, draw: Draw) -> None:
    longer = "a robot and a rocket above a moon on a green background"
    with recorded(sdxl.unet) as reference, trace(sdxl) as maps:
        draw(sdxl, CAT, prompt_2=longer)
    ours = maps.compute_global_heat_map(longer)
    torch.testing.assert_close(
        ours.compute_word_heat_map("moon").heatmap,
        reference.heat_maps(maps, 1)[8],
        atol=1e-6,
        rtol=1e-5,
    )


def test_a_text_encoder_of_another_length(pipe: Any, recorded: Any, draw: Draw) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(
        folder("stable-diffusion") / "tokenizer", model_max_length=24
    )
    config = CLIPTextConfig(**{**pipe.text_encoder.config.to_dict(), "max_position_embeddings": 24})
    torch.manual_seed(0)
    other = StableDiffusionPipeline(
        **{**pipe.components, "tokenizer": tokenizer, "text_encoder": CLIPTextModel(config)},
        requires_safety_checker=False,
    )
    other.set_progress_bar_config(disable=True)
    maps = assert_as_written_out(other, recorded, lambda: draw(other, CAT), rows=[1])
    assert maps.prompts[0].limit == 24


def test_a_prompt_longer_than_the_encoder(pipe: Any, recorded: Any, draw: Draw) -> None:
    long = "a cat " + "and a star " * 40
    maps = assert_as_written_out(pipe, recorded, lambda: draw(pipe, long), rows=[1])
    assert maps.compute_global_heat_map().heat_maps.shape[0] == 77


def test_embeddings_instead_of_a_prompt(pipe: Any, recorded: Any, draw: Draw) -> None:
    embeddings, _ = pipe.encode_prompt(CAT, "cpu", 1, False)
    with recorded(pipe.unet) as reference, trace(pipe) as maps:
        draw(pipe, None, prompt_embeds=embeddings, negative_prompt_embeds=embeddings * 0)
    with pytest.raises(ValueError, match="was given embeddings, not a prompt"):
        maps.compute_global_heat_map()
    torch.testing.assert_close(
        maps.compute_global_heat_map(CAT).compute_word_heat_map("cat").heatmap,
        reference.heat_maps(maps, 1)[2],
        atol=1e-6,
        rtol=1e-5,
    )


def test_a_prompt_that_was_not_drawn_has_no_maps(pipe: Any, draw: Draw) -> None:
    with trace(pipe) as maps:
        draw(pipe, ROCKET)
        draw(pipe, CAT)
    for other in (ROCKET, "a dog", "a cat"):
        with pytest.raises(ValueError, match=f"'{other}' is not what was drawn last .*'{CAT}'"):
            maps.compute_global_heat_map(other)
    assert maps.compute_global_heat_map(CAT).words == CAT.split()


def test_a_call_forgets_the_one_before(pipe: Any, draw: Draw) -> None:
    with trace(pipe) as maps:
        draw(pipe, ROCKET, height=32, width=32)
        draw(pipe, CAT)
        twice = maps.compute_global_heat_map().heat_maps
    with trace(pipe) as maps:
        draw(pipe, CAT)
    assert torch.equal(twice, maps.compute_global_heat_map().heat_maps)


def test_a_learned_word_of_two_tokens_is_written_out(pipe: Any, draw: Draw) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(folder("stable-diffusion") / "tokenizer")
    tokenizer.add_tokens(["<toy>", "<toy>_1"])
    pipe.tokenizer = tokenizer
    pipe.text_encoder.resize_token_embeddings(len(tokenizer))
    try:
        with trace(pipe) as maps:
            draw(pipe, "a <toy> on a moon")
    finally:
        pipe.text_encoder.resize_token_embeddings(49408)
    tokens = maps.prompts[0]
    assert [tokens.tokens[i].position for i in tokens.find("moon")[0]] == [6]


def test_words_that_the_model_masks_get_nothing(pipe: Any) -> None:
    mask = torch.ones(1, 77)
    mask[:, 2] = 0
    with trace(pipe) as maps:
        embeddings, _ = pipe.encode_prompt(CAT, "cpu", 1, False)
        pipe.unet(
            torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)),
            500,
            encoder_hidden_states=embeddings,
            encoder_attention_mask=mask,
        )
    found = maps.compute_global_heat_map()
    assert found.compute_word_heat_map("cat").heatmap.max() == 0
    assert found.compute_word_heat_map("blue").heatmap.max() > 0.01


def test_maps_do_not_keep_the_pipeline(loaded: Any, draw: Draw) -> None:
    own = StableDiffusionPipeline(**loaded.components, requires_safety_checker=False)
    own.set_progress_bar_config(disable=True)
    with trace(own) as maps:
        draw(own)
    gone = weakref.ref(own)
    del own
    gc.collect()
    assert gone() is None
    with pytest.raises(ValueError, match="'a cat' is not what was drawn"):  # it still tokenizes
        maps.compute_global_heat_map("a cat")


def test_the_denoiser_alone_is_refused(pipe: Any) -> None:
    latents, embeddings = torch.zeros(1, 4, 16, 16), torch.zeros(1, 77, 96)
    with trace(pipe), pytest.raises(RuntimeError, match="before the pipeline encoded a prompt"):
        pipe.unet(latents, 1, encoder_hidden_states=embeddings)
