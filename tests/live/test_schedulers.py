"""The page's samplers take the steps of Diffusers' schedulers."""

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import PNDMScheduler, StableDiffusionImg2ImgPipeline
from node_runner import Node
from torch import Tensor

from companion.autopipeline import make_scheduler
from companion.zoo import folder

SIZE = 64
NAMES = ["ddpm", "ddim", "unipc", "unipc karras", "dpm++2m", "dpm++2m karras"]


@cache
def of_the_zoo() -> Any:
    return PNDMScheduler.from_pretrained(folder("stable-diffusion"), subfolder="scheduler")


def made(name: str, **changes: Any) -> Any:
    """Diffusers' scheduler by the page's name, for a model as the zoo's but for `changes`."""
    like = PNDMScheduler.from_config(of_the_zoo().config, **changes)
    names = {"ddpm": "DDPM", "ddim": "DDIM", "unipc": "UniPC", "dpm++2m": "DPM++ 2M Karras"}
    scheduler = make_scheduler(names[name.removesuffix(" karras")], like)
    if "use_karras_sigmas" in scheduler.config:
        karras = name.endswith(" karras")
        return type(scheduler).from_config(scheduler.config, use_karras_sigmas=karras)
    return scheduler


def residual_of(latents: Tensor, alpha_bar: Tensor) -> Tensor:
    """The noise that a perfect model sees, where each clean number is 0.2 around -0.8 or 1.2."""
    signal, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    centres = torch.tensor([-0.8, 1.2]).view(2, *[1] * latents.ndim)
    spread = 0.2**2 * alpha_bar + sigma**2
    weights = (-((latents - signal * centres) ** 2) / (2 * spread)).softmax(dim=0)
    nearer = centres + 0.2**2 * signal / spread * (latents - signal * centres)
    return (latents - signal * (weights * nearer).sum(dim=0)) / sigma


def walked(scheduler: Any, steps: int, seed: int, start: int | None = None) -> dict[str, Tensor]:
    """All steps, as a pipeline takes them; with `start`, those that image to image takes."""
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(1, 4, 4, 4, generator=generator)
    timesteps = scheduler.timesteps
    if start is not None:
        timesteps = timesteps[start:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(start)
        clean = torch.linspace(-1.5, 1.5, SIZE).view(1, 4, 4, 4)
        latents = scheduler.add_noise(clean, latents, timesteps[:1])
    walk: dict[str, list[Tensor]] = {"latents": [latents], "residuals": [], "x0": []}
    noisy = {"generator": generator} if type(scheduler).__name__ == "DDPMScheduler" else {}
    for t in timesteps:
        residual = residual_of(latents, scheduler.alphas_cumprod[t])
        done = scheduler.step(residual, t, latents, **noisy)
        x0 = done.get("pred_original_sample")
        latents = done.prev_sample
        walk["latents"].append(latents)
        walk["residuals"].append(residual)
        walk["x0"].append(scheduler.model_outputs[-1] if x0 is None else x0)
    return {part: torch.cat(tensors) for part, tensors in walk.items()}


class Cases:
    """Walks of Diffusers, written for node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.listed: list[dict[str, Any]] = []

    def add(self, name: str, steps: int, start: int | None = None, **changes: Any) -> None:
        scheduler, seed = made(name, **changes), len(self.listed)
        for part, tensor in walked(scheduler, steps, seed, start).items():
            self.node.write_array(f"{seed}-{part}", tensor)
        config = {**of_the_zoo().config, **changes}
        sampler = name.removesuffix(" karras")
        config["use_karras_sigmas"] = sampler != name
        timesteps = scheduler.timesteps.tolist()
        case = {"name": sampler, "steps": steps, "start": start, "seed": seed}
        self.listed.append({**case, "config": config, "timesteps": timesteps})

    def run(self) -> None:
        self.node.write_json("cases", self.listed)
        self.node.run("schedulers.test.js")


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_those_of_diffusers(node: Node, name: str) -> None:
    cases = Cases(node)
    for steps in range(1, 51):
        cases.add(name, steps)
    cases.run()


def test_steps_from_a_picture_are_those_of_diffusers(node: Node) -> None:
    cases = Cases(node)
    begins = [(1, 0), (2, 1), (3, 1), (15, 0), (15, 7), (15, 13), (15, 14), (29, 20)]
    begins += [(50, 47), (50, 48), (50, 49)]  # where two of Karras' steps share a timestep
    for name in NAMES:
        for steps, start in begins:
            cases.add(name, steps, start)
    cases.run()


def test_strength_skips_as_in_diffusers_and_what_cannot_be_is_refused(node: Node) -> None:
    strengths = [0.0, 0.01, 0.07, 0.1, 0.2, 0.29, 0.3, 0.5, 0.57, 0.58, 0.8, 0.9, 0.999, 1.0]
    firsts = []
    for steps in (1, 2, 3, 10, 15, 29, 50, 100):
        for strength in strengths:
            pipe = SimpleNamespace(scheduler=made("unipc"))
            pipe.scheduler.set_timesteps(steps)
            _, left = StableDiffusionImg2ImgPipeline.get_timesteps(pipe, steps, strength, "cpu")
            firsts.append([steps, strength, left])
    node.write_json("firsts", firsts)
    node.run("schedulers_made.test.js")


def test_another_models_noise_levels_are_read_from_its_configuration(node: Node) -> None:
    cases = Cases(node)
    linear = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
    for name in NAMES:
        for steps in (1, 7, 100, 199):
            cases.add(name, steps, num_train_timesteps=200, steps_offset=0, **linear)
        cases.add(name, 20, set_alpha_to_one=True)
    cases.run()
