"""Names of other libraries that they do not promise to keep, where `autopipeline` uses them: an
upgrade that takes one away is seen here."""

from types import SimpleNamespace

import torch
from diffusers import StableDiffusionPipeline
from diffusers.pipelines import auto_pipeline


def test_a_pipeline_reads_its_guidance_scale_where_it_is_written() -> None:
    written = SimpleNamespace(_guidance_scale=3.0)
    assert StableDiffusionPipeline.guidance_scale.fget(written) == 3.0


def test_a_pipeline_says_which_tensors_a_callback_may_ask_for() -> None:
    assert {"latents", "prompt_embeds"} <= set(StableDiffusionPipeline._callback_tensor_inputs)


def test_auto_pipeline_chooses_by_these_mappings() -> None:
    for task in ("INPAINT", "IMAGE2IMAGE", "TEXT2IMAGE"):
        assert getattr(auto_pipeline, f"AUTO_{task}_PIPELINES_MAPPING")["stable-diffusion"]


def test_torch_knows_whether_a_cpu_multiplies_in_bfloat16() -> None:
    if hasattr(torch.cpu, "get_capabilities"):
        assert torch.cpu.get_capabilities()["architecture"]
    else:
        assert callable(torch.cpu._is_avx512_bf16_supported)
        assert callable(torch.cpu._is_amx_tile_supported)
