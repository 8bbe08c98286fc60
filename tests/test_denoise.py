"""`companion.denoise`: each sampler against Diffusers' scheduler, step by step at the same seed.

Measured on random models: `ddpm` and `ddim` agree to the last bit in float32, `unipc` to 2e-5 of
the largest value; the bound below is a hundredth of a shade of 0..255.
"""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DModel,
    UniPCMultistepScheduler,
)
from torch import Tensor

from companion import denoise

TOLERANCE = 1e-4
SHAPE = (2, 3, 8, 8)
SAMPLERS: list[denoise.Sampler] = [
    getattr(denoise, name) for name in denoise.__all__ if name.islower()
]


@pytest.fixture(scope="module")
def model() -> UNet2DModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet2DModel(
            sample_size=8,
            layers_per_block=1,
            block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            attention_head_dim=8,
        ).eval()


@pytest.fixture
def scheduler() -> DDPMScheduler:
    """As the zoo's: linear betas, clipping, the small variance, leading timesteps."""
    return DDPMScheduler()


@pytest.fixture
def noise() -> Tensor:
    return torch.randn(SHAPE, generator=generator(1))


class Oracle:
    """A model that is never wrong: its data are normal, of mean 0.3 and deviation 0.2."""

    mean, deviation = 0.3, 0.2
    device, dtype = torch.device("cpu"), torch.float64
    config = SimpleNamespace(sample_size=8, in_channels=3)

    def __init__(self, alphas_cumprod: Tensor) -> None:
        self.alphas_cumprod = alphas_cumprod.double()

    def moments(self, t: int) -> tuple[Tensor, Tensor]:
        """Mean and deviation of x_t."""
        abar = self.alphas_cumprod[t]
        return abar**0.5 * self.mean, (abar * self.deviation**2 + 1 - abar) ** 0.5

    def __call__(self, sample: Tensor, t: int) -> SimpleNamespace:
        mean, deviation = self.moments(t)
        noise = (1 - self.alphas_cumprod[t]) ** 0.5 * (sample - mean) / deviation**2
        return SimpleNamespace(sample=noise)

    def follow(self, sample: Tensor, t: int, to: int) -> Tensor:
        """The exact solution of the ODE that DDIM and UniPC solve: the place in the crowd stays."""
        (mean, deviation), (mean_to, deviation_to) = self.moments(t), self.moments(to)
        return mean_to + deviation_to * (sample - mean) / deviation


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def step_by_step(
    model: Any, noise: Tensor, scheduler: Any, num_steps: int, **options: Any
) -> Tensor:
    """What Diffusers' scheduler makes of the noise."""
    scheduler.set_timesteps(num_steps)
    sample = noise
    for t in scheduler.timesteps:
        sample = scheduler.step(model(sample, t).sample, t, sample, **options).prev_sample
    return sample


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    """Within the tolerance of the largest value."""
    bound = TOLERANCE * max(1.0, float(theirs.abs().max()))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=bound)


@pytest.mark.parametrize("num_steps", [1, 2, 7, 50])
def test_ddpm_equals_diffusers_scheduler(
    model: UNet2DModel, noise: Tensor, scheduler: DDPMScheduler, num_steps: int
) -> None:
    ours = denoise.ddpm(
        model, noise, scheduler=scheduler, num_steps=num_steps, generator=generator()
    )
    assert_close(ours, step_by_step(model, noise, scheduler, num_steps, generator=generator()))


def test_ddpm_equals_diffusers_scheduler_over_all_steps(scheduler: DDPMScheduler) -> None:
    oracle = Oracle(scheduler.alphas_cumprod)
    noise = torch.randn(SHAPE, generator=generator(), dtype=oracle.dtype)
    ours = denoise.ddpm(oracle, noise, scheduler=scheduler, generator=generator())
    assert_close(ours, step_by_step(oracle, noise, scheduler, 1000, generator=generator()))


@pytest.mark.parametrize(
    "options",
    [
        {"clip_sample": False},
        {"clip_sample_range": 0.5},
        {"thresholding": True},
        {"thresholding": True, "sample_max_value": 3.0, "dynamic_thresholding_ratio": 0.9},
        {"variance_type": "fixed_large"},
        {"timestep_spacing": "trailing"},
        {"timestep_spacing": "linspace"},
        {"beta_schedule": "squaredcos_cap_v2"},
    ],
    ids=str,
)
def test_ddpm_follows_the_scheduler_s_configuration(
    model: UNet2DModel, noise: Tensor, options: dict[str, Any]
) -> None:
    scheduler = DDPMScheduler(**options)
    ours = denoise.ddpm(model, noise, scheduler=scheduler, num_steps=8, generator=generator())
    assert_close(ours, step_by_step(model, noise, scheduler, 8, generator=generator()))


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("num_steps", [1, 7, 20])
def test_ddim_equals_diffusers_scheduler(
    model: UNet2DModel,
    noise: Tensor,
    scheduler: DDPMScheduler,
    num_steps: int,
    eta: float,
    clipped: bool,
) -> None:
    theirs = step_by_step(
        model,
        noise,
        DDIMScheduler.from_config(scheduler.config),
        num_steps,
        eta=eta,
        use_clipped_model_output=clipped,
        generator=generator(),
    )
    ours = denoise.ddim(
        model,
        noise,
        scheduler=scheduler,
        num_steps=num_steps,
        eta=eta,
        use_clipped_model_output=clipped,
        generator=generator(),
    )
    assert_close(ours, theirs)


@pytest.mark.parametrize(
    "options",
    [
        {"clip_sample": False},
        {"set_alpha_to_one": False, "steps_offset": 1},
        {"timestep_spacing": "trailing"},
    ],
    ids=str,
)
def test_ddim_follows_the_scheduler_s_configuration(
    model: UNet2DModel, noise: Tensor, options: dict[str, Any]
) -> None:
    scheduler = DDIMScheduler(**options)
    ours = denoise.ddim(model, noise, scheduler=scheduler, num_steps=10)
    assert_close(ours, step_by_step(model, noise, scheduler, 10))


def test_ddim_without_eta_leaves_the_generator_alone(
    model: UNet2DModel, noise: Tensor, scheduler: DDPMScheduler
) -> None:
    untouched = generator()
    denoise.ddim(model, noise, scheduler=scheduler, num_steps=2, generator=untouched)
    assert torch.equal(untouched.get_state(), generator().get_state())


def test_ddim_with_all_steps_and_full_eta_is_ddpm(model: UNet2DModel, noise: Tensor) -> None:
    # One formula written in two ways (Song et al. 2021, section 4.1), unless x_0 is clipped.
    scheduler = DDPMScheduler(clip_sample=False)
    options = {"scheduler": scheduler, "num_steps": 30}
    ours = denoise.ddim(model, noise, eta=1.0, generator=generator(), **options)
    theirs = denoise.ddpm(model, noise, generator=generator(), **options)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 4, 20])
def test_unipc_equals_diffusers_scheduler(
    model: UNet2DModel, noise: Tensor, num_steps: int, spacing: str
) -> None:
    scheduler = UniPCMultistepScheduler(timestep_spacing=spacing)
    ours = denoise.unipc(model, noise, scheduler=scheduler, num_steps=num_steps)
    assert_close(ours, step_by_step(model, noise, scheduler, num_steps))


@pytest.mark.parametrize("sample_max_value", [1.0, 3.0])
def test_unipc_thresholds_as_diffusers_scheduler(
    model: UNet2DModel, noise: Tensor, sample_max_value: float
) -> None:
    scheduler = UniPCMultistepScheduler(thresholding=True, sample_max_value=sample_max_value)
    ours = denoise.unipc(model, noise, scheduler=scheduler, num_steps=10)
    assert_close(ours, step_by_step(model, noise, scheduler, 10))


def test_ddpm_draws_from_the_distribution_it_should() -> None:
    scheduler = DDPMScheduler(clip_sample=False)
    noise = torch.randn((64, 3, 8, 8), generator=generator())
    drawn = denoise.ddpm(
        Oracle(scheduler.alphas_cumprod), noise, scheduler=scheduler, generator=generator(4)
    )
    assert drawn.mean() == pytest.approx(0.3, abs=0.01)
    assert drawn.std() == pytest.approx(0.2, rel=0.05)


def test_unipc_is_nearer_to_the_exact_solution_than_ddim_in_as_many_steps() -> None:
    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="linspace")
    oracle = Oracle(scheduler.alphas_cumprod)
    noise = torch.randn(SHAPE, generator=generator(), dtype=oracle.dtype)

    def error(sampler: denoise.Sampler) -> float:
        steps: list[denoise.Step] = []
        sampler(oracle, noise, scheduler=scheduler, num_steps=20, callback=steps.append)
        middle = steps[15]
        exact = oracle.follow(noise, steps[0].timestep, middle.timestep)
        return float((middle.sample - exact).abs().max())

    assert error(denoise.unipc) < error(denoise.ddim) / 4


def test_ddpm_pipeline_draws_the_same_picture_at_the_same_seed(
    model: UNet2DModel, scheduler: DDPMScheduler
) -> None:
    pipeline = DDPMPipeline(unet=model, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(2, generator(), num_inference_steps=10, output_type="np").images
    rng = generator()
    ours = denoise.ddpm(
        model,
        torch.randn(SHAPE, generator=rng),
        scheduler=scheduler,
        num_steps=10,
        generator=rng,
    )
    ours = (ours / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


def test_ddim_pipeline_draws_the_same_picture_at_the_same_seed(
    model: UNet2DModel, scheduler: DDPMScheduler
) -> None:
    pipeline = DDIMPipeline(unet=model, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(2, generator(), num_inference_steps=10, output_type="np").images
    noise = torch.randn(SHAPE, generator=generator())
    ours = denoise.ddim(model, noise, scheduler=scheduler, num_steps=10)
    ours = (ours / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_scheduler_keeps_its_state(
    model: UNet2DModel, noise: Tensor, scheduler: DDPMScheduler, sampler: denoise.Sampler
) -> None:
    scheduler.set_timesteps(11)
    before = scheduler.timesteps.clone()
    sampler(model, noise, scheduler=scheduler, num_steps=3, generator=generator())
    assert torch.equal(scheduler.timesteps, before)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_seed_gives_one_picture(
    model: UNet2DModel, noise: Tensor, scheduler: DDPMScheduler, sampler: denoise.Sampler
) -> None:
    def draw(seed: int) -> Tensor:
        return sampler(model, noise, scheduler=scheduler, num_steps=3, generator=generator(seed))

    assert torch.equal(draw(5), draw(5))
    assert torch.equal(draw(5), draw(6)) == (sampler is not denoise.ddpm)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_unet_is_called_once_a_step(
    model: UNet2DModel, noise: Tensor, scheduler: DDPMScheduler, sampler: denoise.Sampler
) -> None:
    calls = []
    hook = model.register_forward_hook(lambda *_: calls.append(1))
    try:
        sampler(model, noise, scheduler=scheduler, num_steps=6, generator=generator())
    finally:
        hook.remove()
    assert len(calls) == 6


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_callback_sees_every_step(
    model: UNet2DModel, noise: Tensor, scheduler: DDPMScheduler, sampler: denoise.Sampler
) -> None:
    steps: list[denoise.Step] = []
    result = sampler(
        model,
        noise,
        scheduler=scheduler,
        num_steps=4,
        generator=generator(),
        callback=steps.append,
    )
    assert [step.index for step in steps] == [0, 1, 2, 3]
    assert steps[0].timestep > steps[1].timestep > steps[-1].timestep >= 0
    assert torch.equal(steps[0].sample, noise)
    for step in steps:
        with torch.no_grad():
            assert torch.equal(step.noise_residual, model(step.sample, step.timestep).sample)
        assert step.predicted_x0.shape == noise.shape
    assert_close(result, steps[-1].predicted_x0)  # the last step goes all the way


@pytest.mark.parametrize("sampler", [denoise.ddpm, denoise.ddim])
def test_the_predicted_x0_is_clipped_as_configured(
    model: UNet2DModel, noise: Tensor, sampler: denoise.Sampler
) -> None:
    steps: list[denoise.Step] = []
    draw = partial(sampler, model, noise, num_steps=2, generator=generator())
    draw(scheduler=DDPMScheduler(clip_sample_range=0.5), callback=steps.append)
    assert max(float(step.predicted_x0.abs().max()) for step in steps) == 0.5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_half_precision_stays_half(
    noise: Tensor, scheduler: DDPMScheduler, sampler: denoise.Sampler
) -> None:
    model = UNet2DModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=8,
    ).to(torch.bfloat16)
    drawn = sampler(model, noise, scheduler=scheduler, num_steps=3, generator=generator())
    assert drawn.dtype == torch.bfloat16
    assert drawn.isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_gpu_draws_the_same_picture(
    model: UNet2DModel, noise: Tensor, scheduler: DDPMScheduler, sampler: denoise.Sampler
) -> None:
    draw = partial(sampler, noise=noise, scheduler=scheduler, num_steps=10)
    on_cpu = draw(model, generator=generator())
    on_gpu = draw(model.to("cuda"), generator=generator())
    model.to("cpu")
    assert on_gpu.device.type == "cuda"
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("num_steps", [0, -1, 1001])
def test_steps_out_of_range_are_named(
    model: UNet2DModel,
    noise: Tensor,
    scheduler: DDPMScheduler,
    sampler: denoise.Sampler,
    num_steps: int,
) -> None:
    with pytest.raises(ValueError, match=rf"1 to (1000|999) .* {num_steps} was given"):
        sampler(model, noise, scheduler=scheduler, num_steps=num_steps)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 1, 8, 8), (2, 3, 16, 16)])
def test_noise_that_does_not_fit_is_named(
    model: UNet2DModel, scheduler: DDPMScheduler, sampler: denoise.Sampler, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"\(batch, 3, 8, 8\), but this noise has the shape \("):
        sampler(model, torch.zeros(shape), scheduler=scheduler)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_generator_elsewhere_is_named(
    model: UNet2DModel, noise: Tensor, scheduler: DDPMScheduler, sampler: denoise.Sampler
) -> None:
    class OnCuda:
        device = torch.device("cuda")

    with pytest.raises(ValueError, match=r"on cuda, .* use torch\.Generator\(\)"):
        sampler(model, noise, scheduler=scheduler, generator=OnCuda())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_another_kind_of_model_is_named(
    model: UNet2DModel, noise: Tensor, sampler: denoise.Sampler
) -> None:
    with pytest.raises(ValueError, match=r"predict noise.* it is v_prediction"):
        sampler(model, noise, scheduler=DDPMScheduler(prediction_type="v_prediction"))


def test_a_variance_that_ddpm_does_not_know_is_named(model: UNet2DModel, noise: Tensor) -> None:
    with pytest.raises(ValueError, match="learned_range"):
        denoise.ddpm(model, noise, scheduler=DDPMScheduler(variance_type="learned_range"))


@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_an_eta_out_of_range_is_named(
    model: UNet2DModel, noise: Tensor, scheduler: DDPMScheduler, eta: float
) -> None:
    with pytest.raises(ValueError, match=f"{eta} was given"):
        denoise.ddim(model, noise, scheduler=scheduler, eta=eta)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_pure_noise_is_refused_not_drawn_as_nan(
    sampler: denoise.Sampler, model: UNet2DModel, noise: Tensor
) -> None:
    zero = DDIMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing")
    with pytest.raises(ValueError, match=r"begins with pure noise.*set it to False\."):
        sampler(model, noise, scheduler=zero, num_steps=4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_steps_are_a_whole_number_numpys_included(
    sampler: denoise.Sampler, model: UNet2DModel, noise: Tensor, scheduler: DDPMScheduler
) -> None:
    steps = [
        sampler(model, noise, scheduler=scheduler, num_steps=number, generator=generator(1))
        for number in (np.int64(3), 3)
    ]
    assert torch.equal(*steps)
    with pytest.raises(ValueError, match=r"num_steps is 2\.5, but it is a whole number"):
        sampler(model, noise, scheduler=scheduler, num_steps=2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": None}, "The model is None, but it is a UNet2DModel"),
        ({"noise": np.zeros(SHAPE)}, "The noise is a tensor"),
        ({"scheduler": None}, "The scheduler is None"),
        ({"scheduler": FlowMatchEulerDiscreteScheduler()}, "with a table of ᾱ"),
        ({"generator": 5}, "The generator is 5"),
        ({"callback": 5}, "The callback is 5"),
    ],
)
def test_what_no_sampler_can_use_is_said(
    sampler: denoise.Sampler,
    model: UNet2DModel,
    scheduler: DDPMScheduler,
    noise: Tensor,
    given: dict[str, Any],
    says: str,
) -> None:
    given = {"model": model, "noise": noise, "scheduler": scheduler, "num_steps": 1, **given}
    with pytest.raises(ValueError, match=says):
        sampler(given.pop("model"), given.pop("noise"), **given)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_number_of_torch_is_a_number_of_steps(
    sampler: denoise.Sampler, model: UNet2DModel, scheduler: DDPMScheduler, noise: Tensor
) -> None:
    first = sampler(model, noise, scheduler=scheduler, num_steps=2, generator=generator(1))
    steps = torch.tensor(2)
    again = sampler(model, noise, scheduler=scheduler, num_steps=steps, generator=generator(1))
    assert torch.equal(first, again)
