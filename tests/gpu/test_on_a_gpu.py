"""What only a GPU can show. `make gpu` runs these; elsewhere they are skipped."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from companion import profile
from companion.attention import trace
from companion.autopipeline import draw, make_scheduler, optimise
from companion.metrics import psnr
from companion.stable_diffusion import load_parts, text_to_image
from companion.training import TrainingConfig, train
from companion.zoo import folder, recognise

pytestmark = pytest.mark.gpu
PROMPT = "a frog on a red background"
SETTINGS: dict[str, Any] = {"seeds": [1, 2], "num_inference_steps": 10, "guidance_scale": 4.0}


def load(device: str, dtype: torch.dtype = torch.float32) -> Any:
    """The zoo's Stable Diffusion, computed as the small profile does."""
    profile("small")
    pipe = StableDiffusionPipeline.from_pretrained(str(folder("stable-diffusion")), dtype=dtype)
    pipe.scheduler = make_scheduler("DPM++ 2M Karras", pipe.scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


@pytest.fixture(scope="module")
def on_cpu() -> list[Any]:
    """The pictures that a CPU draws."""
    return draw(load("cpu"), PROMPT, **SETTINGS)


@pytest.fixture(autouse=True)
def nothing_stays_compiled() -> Iterator[None]:
    """What one test compiled does not count against the next."""
    yield
    torch.compiler.reset()


def test_the_profile_takes_the_gpu() -> None:
    assert profile("small").device == "cuda"


def test_a_gpu_draws_the_cpus_pictures(on_cpu: list[Any]) -> None:
    drawn = draw(load("cuda"), PROMPT, **SETTINGS)
    assert min(psnr(*pair) for pair in zip(on_cpu, drawn, strict=True)) > 35
    assert all(seen.objects == ("frog",) for seen in recognise(drawn))


def test_a_scheduler_that_has_added_noise_there_draws_too(on_cpu: list[Any]) -> None:
    pipe = load("cuda")
    noise = torch.zeros(1, 4, 8, 8, device="cuda")
    pipe.scheduler.add_noise(noise, noise, torch.tensor([1], device="cuda"))
    drawn = draw(pipe, PROMPT, **SETTINGS)
    assert min(psnr(*pair) for pair in zip(on_cpu, drawn, strict=True)) > 35
    parts = load_parts(folder("stable-diffusion"), device="cuda")
    parts.scheduler.add_noise(noise, noise, torch.tensor([1], device="cuda"))
    assert text_to_image(parts, PROMPT, seeds=[1], num_inference_steps=2)


@pytest.mark.parametrize("whole", [False, True])
def test_optimised_it_draws_them_too(on_cpu: list[Any], whole: bool) -> None:
    pipe = load("cuda")
    report = optimise(pipe, compile_whole=whole)
    assert report.done("half precision"), report
    assert report.done("compile"), report
    for _ in range(2):  # the second call plays the graph
        drawn = draw(pipe, PROMPT, **SETTINGS)
        assert min(psnr(*pair) for pair in zip(on_cpu, drawn, strict=True)) > 25
    if not whole:  # other numbers and sizes compile again, or fall back, and never fail
        for count in (1, 3, 4):
            draw(pipe, PROMPT, seeds=range(count), num_inference_steps=2, guided=0.5)


def test_a_graphs_answers_serve_a_scheduler_that_keeps_them() -> None:
    pipe = load("cuda")
    pipe.scheduler = make_scheduler("PNDM", pipe.scheduler)
    plain = draw(pipe, PROMPT, **SETTINGS | {"guidance_scale": 1.0})
    optimise(pipe, compile_whole=True)
    quick = draw(pipe, PROMPT, **SETTINGS | {"guidance_scale": 1.0})
    assert min(psnr(*pair) for pair in zip(plain, quick, strict=True)) > 25


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_trace_on_a_gpu_sums_what_the_cpu_sums(dtype: torch.dtype) -> None:
    found = {}
    for device, precision in (("cpu", torch.float32), ("cuda", dtype)):
        pipe = load(device, precision)
        with trace(pipe) as maps:
            draw(pipe, PROMPT, **SETTINGS)
        found[device] = maps.compute_global_heat_map().heat_maps.float().cpu()
    apart = (found["cuda"] - found["cpu"]).abs().max() / found["cpu"].max()
    assert apart < (0.01 if dtype == torch.float32 else 0.1)


def test_a_trace_leaves_the_picture_as_it_is_also_when_compiled() -> None:
    pipe = load("cuda", torch.float16)
    optimise(pipe)
    (plain,) = draw(pipe, PROMPT, **SETTINGS | {"seeds": 1})
    with trace(pipe) as maps:
        (traced,) = draw(pipe, PROMPT, **SETTINGS | {"seeds": 1})
    assert psnr(plain, traced) > 25
    assert maps.steps == 10


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., TrainingConfig]:
    """A run of some seconds."""

    def make(**changes: Any) -> TrainingConfig:
        settings: dict[str, Any] = {
            "dataset_name": "scenes:flowers",
            "num_scenes": 64,
            "image_size": 16,
            "train_batch_size": 16,
            "eval_batch_size": 4,
            "num_epochs": 4,
            "save_image_epochs": 4,
            "lr_warmup_steps": 2,
            "learning_rate": 1e-3,
            "sample_steps": 2,
            "log_with": None,
            "progress_bar": False,
            "overwrite_output_dir": True,
            "output_dir": str(tmp_path / "run"),
            "model": {
                "layers_per_block": 1,
                "block_out_channels": [32, 64],
                "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
                "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
                "norm_num_groups": 8,
                "attention_head_dim": 32,
            },
        }
        return TrainingConfig(**settings | changes)

    return make


@pytest.mark.parametrize("precision", ["no", "fp16", "bf16"])
def test_training_learns_in_each_precision(
    tiny: Callable[..., TrainingConfig], precision: str
) -> None:
    losses = train(tiny(mixed_precision=precision, num_epochs=8)).losses
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_compiled_blocks_train_as_eager_ones_do(tiny: Callable[..., TrainingConfig]) -> None:
    eager = train(tiny(mixed_precision="bf16")).losses
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The model stays eager")
        compiled = train(tiny(mixed_precision="bf16", compile=True)).losses
    assert compiled == pytest.approx(eager, rel=0.05)


def test_a_step_does_not_wait_for_the_gpu(
    tiny: Callable[..., TrainingConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More steps, no more places where the host waits."""

    def waits(epochs: int) -> int:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                settings = {"log_every": 10_000, "checkpoint_every": 0, "mixed_precision": "bf16"}
                train(tiny(num_epochs=1, num_scenes=64 * epochs, **settings))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(warning.message).lower() for warning in caught)

    few, many = waits(1), waits(4)  # 4 steps, 16 steps
    assert many - few < 12, f"{few} and {many} waits"


def test_a_trace_does_not_wait_for_the_gpu_at_each_layer() -> None:
    pipe = load("cuda", torch.float16)
    layers = 0

    def waits(traced: bool) -> int:
        nonlocal layers
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                if traced:
                    with trace(pipe) as maps:
                        draw(pipe, PROMPT, **SETTINGS | {"seeds": 1})
                    layers = len(maps.layers)
                else:
                    draw(pipe, PROMPT, **SETTINGS | {"seeds": 1})
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(warning.message).lower() for warning in caught)

    more = waits(True) - waits(False)
    assert more < 10 * layers / 2, f"{more} more waits in 10 steps of {layers} layers"
