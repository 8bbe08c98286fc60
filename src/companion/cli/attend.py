"""`companion attend`: draw a picture and show which word made which pixels."""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from companion.attention.explorer import Explorer


def add(commands: Any) -> None:
    """Add the command to the parser."""
    attend = commands.add_parser(
        "attend", help="draw a picture and show which word made which pixels"
    )
    attend.add_argument("prompt", metavar="PROMPT", help='such as "a cat on a blue background"')
    attend.add_argument(
        "--words",
        metavar="WORDS",
        help="words or phrases of the prompt, with commas between (default: all words)",
    )
    attend.add_argument("--seed", type=int, default=0, help="of the noise (default: %(default)s)")
    attend.add_argument(
        "--model",
        help="a model of the zoo, a folder, or an id on the hub (default: chapter 3's Stable "
        "Diffusion)",
    )
    attend.add_argument("--steps", type=int, help="default: chapter 3's number")
    attend.add_argument(
        "--out", type=Path, help="a new folder for the results (default: named after the prompt)"
    )
    attend.set_defaults(run=_attend, goes_on="")


def _attend(arguments: argparse.Namespace) -> None:
    prompt = arguments.prompt.strip()
    if not prompt:
        raise ValueError("The prompt is empty: say what to draw.")
    if arguments.steps is not None and arguments.steps < 1:
        raise ValueError(f"--steps is {arguments.steps}, but at least 1 is needed.")
    if not 0 <= arguments.seed < 2**63:
        raise ValueError(f"--seed is {arguments.seed}, but it is a whole number of 0 or more.")
    phrases = None
    if arguments.words is not None:
        phrases = [word.strip() for word in arguments.words.split(",") if word.strip()]
        if not phrases:
            raise ValueError("--words names no word: write them with commas between.")
    folder = arguments.out or Path(f"{_slug(prompt)}-{arguments.seed}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already; name a new folder with --out.")

    picture, page = _draw(prompt, phrases, arguments.model, arguments.steps, arguments.seed)
    _write(folder, picture, page)
    print(f"{', '.join(page.words)}: open {folder / 'index.html'} in a browser.")


def _draw(
    prompt: str, phrases: list[str] | None, model: str | None, steps: int | None, seed: int
) -> tuple[Image.Image, Explorer]:
    import torch

    from companion.attention import trace
    from companion.attention.explorer import explore
    from companion.attention.words import tokenize
    from companion.profile import profile

    settings = profile()
    pipe, guidance = _pipeline(model, settings)
    for phrase in phrases or []:
        tokenize([pipe.tokenizer], prompt).find(phrase)  # says so now if it is not there
    with trace(pipe, by="step") as maps:
        picture = pipe(
            prompt,
            num_inference_steps=steps or settings.num_inference_steps,
            generator=torch.Generator().manual_seed(seed),
            **guidance,
        ).images[0]
    return picture, explore(maps, picture, phrases, title=f"{prompt} (seed {seed})")


def _pipeline(model: str | None, settings: Any) -> tuple[Any, dict[str, float]]:
    """The pipeline, and what it is called with for its guidance."""
    from diffusers import DiffusionPipeline, PNDMScheduler, UniPCMultistepScheduler
    from diffusers.utils.logging import disable_progress_bar
    from transformers import logging

    from companion.profile import profile
    from companion.zoo.registry import entries

    logging.set_verbosity_error()
    for quiet in (disable_progress_bar, logging.disable_progress_bar):
        quiet()  # while loading; drawing shows how far it is
    in_zoo = model in entries() if model else settings.models["stable_diffusion"].zoo
    guidance = profile("small").guidance_scale if in_zoo else settings.guidance_scale
    where = settings.stable_diffusion
    if model and in_zoo:
        where = str(entries()[model].path)
    elif model:
        where, guidance = model, None
    try:
        pipe = DiffusionPipeline.from_pretrained(where, dtype=settings.dtype)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{model or where!r} could not be loaded as a pipeline ({type(error).__name__}): name "
            f"the zoo's stable-diffusion, a folder with a model_index.json, or an id on the hub."
        ) from error
    if isinstance(getattr(pipe, "scheduler", None), PNDMScheduler):
        # PNDM needs twice the steps (chapter 3).
        pipe.scheduler = UniPCMultistepScheduler.from_config(
            pipe.scheduler.config, timestep_spacing="linspace"
        )
    return pipe.to(settings.device), {} if guidance is None else {"guidance_scale": guidance}


def _write(folder: Path, picture: Image.Image, page: Explorer) -> None:
    """All files or none: they are made beside the folder, which then takes their place's name."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".attend-", dir=folder.parent))
    try:
        picture.save(unfinished / "picture.png")
        page.sheet().save(unfinished / "words.png")
        (unfinished / "index.html").write_text(page.page(), encoding="utf-8")
        unfinished.chmod(0o755)  # mkdtemp's is the owner's alone
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _slug(prompt: str) -> str:
    words = re.sub(r"\W+", "-", prompt.lower()).strip("-")
    return words[:60].rstrip("-") or "picture"
