"""Draw the pictures of the chapters' cards on the first page: what each chapter is about.

    python tools/draw_cards.py

Models of the zoo draw them, on a CPU, in two minutes: one of them is taught something first. Writes
book/images/card-1.png and so on.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import (
    AutoPipelineForInpainting,
    DDIMPipeline,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from diffusers.utils.logging import disable_progress_bar
from PIL import Image, ImageDraw

from companion import figures, flow
from companion.attention import trace
from companion.attention.explorer import light_up
from companion.door.labels import Origin, save_labelled
from companion.finetuning import FinetuneConfig, finetune, load_finetuned
from companion.profile import profile
from companion.scenes import scene

IMAGES = Path(__file__).resolve().parents[1] / "book" / "images"
SIDE = 128  # of each of a card's two halves, in pixels
OPTIONS = {"num_inference_steps": 25, "guidance_scale": 4.0}


def halves(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two square pictures side by side, each pixel a square of pixels."""
    card = Image.new("RGB", (2 * SIDE, SIDE))
    for number, picture in enumerate((left, right)):
        large = picture.resize((SIDE, SIDE), Image.Resampling.NEAREST)
        card.paste(large, (number * SIDE, 0))
    return card


def stable_diffusion() -> StableDiffusionPipeline:
    """The zoo's Stable Diffusion with chapter 3's scheduler."""
    pipe = StableDiffusionPipeline.from_pretrained(
        profile("small").stable_diffusion, use_safetensors=True
    )
    pipe.scheduler = UniPCMultistepScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="linspace"
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe: StableDiffusionPipeline, prompt: str, seed: int, **options: Any) -> Image.Image:
    """One picture."""
    generator = torch.Generator().manual_seed(seed)
    return pipe(prompt, generator=generator, **OPTIONS, **options).images[0]


def first_pictures(pipe: StableDiffusionPipeline) -> Image.Image:
    """Chapter 1: two pictures."""
    prompts = ("a rocket on a black background", "a dinosaur on a yellow background")
    left, right = (draw(pipe, prompt, 3) for prompt in prompts)
    return halves(left, right)


def from_noise() -> Image.Image:
    """Chapter 2: an animal comes out of noise, in eight steps of a pixel model."""
    pipe = DDIMPipeline.from_pretrained(profile("small").denoiser, use_safetensors=True)
    scheduler, unet = pipe.scheduler, pipe.unet
    scheduler.set_timesteps(50)
    sample = torch.randn((1, 3, 32, 32), generator=torch.Generator().manual_seed(7))
    seen = [sample]
    with torch.inference_mode():
        for t in scheduler.timesteps:
            sample = scheduler.step(unet(sample, t).sample, t, sample).prev_sample
            seen.append(sample)
    chosen = torch.cat([seen[i] for i in (0, 15, 25, 32, 38, 43, 47, 50)])
    return figures.tile(chosen, columns=4).resize((2 * SIDE, SIDE), Image.Resampling.NEAREST)


def latents_and_picture(pipe: StableDiffusionPipeline) -> Image.Image:
    """Chapter 3: the latents, three of their four channels as colours, and what they decode to."""
    kept: dict[str, torch.Tensor] = {}

    def keep(_: Any, step: int, t: Any, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        kept.update(values)
        return values

    picture = draw(pipe, "a panda on a green background", 0, callback_on_step_end=keep)
    return halves(figures.to_pil(kept["latents"][0, :3] / 3), picture)


def another_background(pipe: StableDiffusionPipeline) -> Image.Image:
    """Chapter 4: a scene, and the same with its background repainted."""
    given = scene(7, subset="stable-diffusion", size=64)
    mask = Image.fromarray(~given.masks.any(0))
    prompt = given.caption.replace(given.background, "purple")
    inpaint = AutoPipelineForInpainting.from_pipe(pipe)
    inpaint.set_progress_bar_config(disable=True)
    repainted = draw(inpaint, prompt, 0, image=given.image, mask_image=mask, strength=1.0)
    return halves(given.image, repainted)


def flowers() -> Image.Image:
    """Chapter 5: flowers that its model draws early in its training, and late."""
    with Image.open(IMAGES / "flowers-by-epoch.png") as epochs:
        tiles = [
            epochs.convert("RGB").crop((102 * i, 102 * j, 102 * i + 96, 102 * j + 96))
            for j in (0, 3)  # the first row and the last
            for i in (1, 2, 3, 4)
        ]
    side = SIDE // 2
    card = Image.new("RGB", (2 * SIDE, SIDE))
    for number, tile in enumerate(tiles):
        small = tile.resize((side, side), Image.Resampling.LANCZOS)
        card.paste(small, (number % 4 * side, number // 4 * side))
    return card


def lit_word(pipe: StableDiffusionPipeline) -> Image.Image:
    """Chapter 6: a picture, and where one of its prompt's words is looked up."""
    with trace(pipe) as maps:
        picture = draw(pipe, "a robot on an orange background", 7)
    heat = maps.compute_global_heat_map().compute_word_heat_map("robot")
    return halves(picture, light_up(picture, heat.expand_as(picture).numpy()))


def taught(pipe: StableDiffusionPipeline) -> Image.Image:
    """Chapter 8: a prompt that means nothing to the model, and the same when it was taught."""
    before = draw(pipe, "a fox on a purple background", 11)
    with TemporaryDirectory() as home:
        settings = FinetuneConfig(
            output_dir=home, overwrite_output_dir=True, token="<fox>", initial_word="cat"
        )
        taught_pipe = load_finetuned(finetune(settings).folder)
    taught_pipe.scheduler = pipe.scheduler
    taught_pipe.set_progress_bar_config(disable=True)
    return halves(before, draw(taught_pipe, "a <fox> on a purple background", 11))


def straight_lines() -> Image.Image:
    """Chapter 7: lines from noise to pictures of two pixels, and what the flow draws."""
    generator = torch.Generator().manual_seed(0)
    islands = torch.tensor([[-0.7, 0.7], [0.7, 0.7], [0.0, -0.8]])
    ends = islands[torch.randint(3, (48,), generator=generator)]
    lines = torch.stack([torch.randn((48, 2), generator=generator), ends], dim=1)
    large = 4 * SIDE  # drawn large and reduced, for smooth lines
    panel = Image.new("RGB", (large, large), "#f4f1ea")
    brush = ImageDraw.Draw(panel)
    for number, line in enumerate(large * (0.5 + lines / 5)):
        colour = ("#2a6f97", "#c8553d", "#5b8e55")[number % 3]
        brush.line(line.flatten().tolist(), fill=colour, width=6)
    for x, y in (large * (0.5 + islands / 5)).tolist():
        brush.ellipse([x - 20, y - 20, x + 20, y + 20], fill="black")
    parts = flow.load_parts(profile("small").flow)
    drawn = flow.text_to_image(
        parts,
        "a moon above a car on a black background",
        num_inference_steps=20,
        guidance_scale=4.0,
        max_sequence_length=0,
        seeds=2,
    )
    return halves(panel.resize((SIDE, SIDE), Image.Resampling.LANCZOS), drawn[0])


def true_and_spoiled() -> Image.Image:
    """The page on measures: a true scene, and what sixteen pixels a side leave of it."""
    true = scene(7, subset="stable-diffusion").image
    return halves(true, true.resize((16, 16)).resize(true.size, Image.Resampling.BICUBIC))


def main() -> None:
    """Draw all."""
    disable_progress_bar()
    pipe = stable_diffusion()
    cards = (
        first_pictures(pipe),
        from_noise(),
        latents_and_picture(pipe),
        another_background(pipe),
        flowers(),
        lit_word(pipe),
        straight_lines(),
        taught(pipe),
    )
    for number, card in enumerate(cards, 1):
        save_labelled(card, IMAGES / f"card-{number}.png", Origin.BESIDE, optimize=True)
    true_and_spoiled().save(IMAGES / "card-how_good.png", optimize=True)


if __name__ == "__main__":
    main()
