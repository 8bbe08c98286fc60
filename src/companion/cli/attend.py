"""`companion attend`: draw a picture and show which word made which pixels."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .device import check_folder

if TYPE_CHECKING:
    import argparse

    from PIL import Image

    from companion.attention.explorer import Explorer
    from companion.profile import Profile

LONGEST_NAME = 120  # bytes of the prompt in the folder's name
AN_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


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
    attend.set_defaults(run=_attend)


def _attend(arguments: argparse.Namespace) -> None:
    from companion.door import printable

    from .results import put, unfinished

    check_folder()
    prompt = arguments.prompt.strip()
    if not prompt:
        raise ValueError("The prompt is empty: say what to draw.")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ValueError("The prompt holds bytes that are no UTF-8: type it anew.") from error
    if arguments.steps is not None and arguments.steps < 1:
        raise ValueError(f"--steps is {arguments.steps}, but at least 1 is needed.")
    if not 0 <= arguments.seed < 2**63:
        raise ValueError(
            f"--seed is {arguments.seed}, but it is a whole number from 0 to 2^63 - 1."
        )
    if arguments.model is not None and not arguments.model.strip():
        raise ValueError("--model is empty: name a model, or leave it out.")
    phrases = None
    if arguments.words is not None:
        phrases = [word.strip() for word in arguments.words.split(",") if word.strip()]
        if not phrases:
            raise ValueError("--words names no word: write them with commas between.")
    folder = arguments.out or Path(f"{_slug(prompt)}-{arguments.seed}")
    with unfinished(folder) as hidden:
        picture, page = _draw(prompt, phrases, arguments.model, arguments.steps, arguments.seed)
        picture.save(hidden / "picture.png")
        page.sheet().save(hidden / "words.png")
        (hidden / "index.html").write_text(page.page(), encoding="utf-8")
        folder = put(hidden, folder)
    print(printable(f"{', '.join(page.words)}: open {folder / 'index.html'} in a browser."))


def _draw(
    prompt: str, phrases: list[str] | None, model: str | None, steps: int | None, seed: int
) -> tuple[Image.Image, Explorer]:
    import torch

    from companion.attention import trace
    from companion.attention.explorer import explore
    from companion.attention.tracing import tokens_of
    from companion.autopipeline.drawing import nan_in_a_sentence
    from companion.autopipeline.schedulers import check_scheduler
    from companion.profile import profile

    p = profile()
    pipe, guidance = _pipeline(model, p)
    steps = steps or p.settings["text_to_image"]["num_inference_steps"]
    with trace(pipe, by="step") as maps:
        if "image" in inspect.signature(type(pipe).__call__).parameters:
            raise ValueError(
                f"A {type(pipe).__name__} draws from a picture, not from words alone: name a "
                "text-to-image model with --model."
            )
        most = pipe.scheduler.config.get("num_train_timesteps", 1000)
        if steps > most:
            raise ValueError(f"--steps is {steps}, but this model knows {most} at most.")
        tokens_of(pipe, prompt).chosen(phrases)  # says so now if one is not there
        if hasattr(pipe, "unet"):
            check_scheduler(pipe.scheduler, {"num_inference_steps": steps})
        try:
            with nan_in_a_sentence(pipe):
                picture = pipe(
                    prompt,
                    num_inference_steps=steps,
                    generator=torch.Generator().manual_seed(seed),
                    **guidance,
                ).images[0]
        except Exception as error:  # a library's, in its own words
            raise ValueError(
                f"The model {model or p.stable_diffusion!r} could not draw this "
                f"({_first_line(error)})."
            ) from error
    return picture, explore(maps, picture, phrases, title=f"{prompt} (seed {seed})")


def _pipeline(model: str | None, p: Profile) -> tuple[Any, dict[str, float]]:
    """The pipeline, and what it is called with for its guidance."""
    from diffusers import DiffusionPipeline, PNDMScheduler, UniPCMultistepScheduler
    from diffusers.utils import logging as of_diffusers
    from transformers import logging as of_transformers

    from companion.door import Untrusted
    from companion.door.models import check_model_folder, check_weights
    from companion.profile import profile
    from companion.zoo import folder
    from companion.zoo.registry import entries

    for logging in (of_diffusers, of_transformers):
        logging.set_verbosity_error()
        logging.disable_progress_bar()  # while loading; drawing shows how far it is
    in_zoo = model in entries() if model else p.models["stable_diffusion"].zoo
    guidance = (profile("small") if in_zoo else p).settings["text_to_image"]["guidance_scale"]
    if not model:
        where = Path(p.stable_diffusion)
    elif in_zoo:
        where = Path(folder(model))
    else:
        where, guidance = _folder(model), None
    check_model_folder(where)
    try:
        pipe = DiffusionPipeline.from_pretrained(where, dtype=p.dtype, use_safetensors=True)
        if isinstance(getattr(pipe, "scheduler", None), PNDMScheduler):
            # PNDM needs twice the steps (chapter 3).
            pipe.scheduler = UniPCMultistepScheduler.from_config(
                pipe.scheduler.config, timestep_spacing="linspace"
            )
        check_weights(pipe, where)
    except Untrusted:
        raise
    except Exception as error:  # libraries raise what they like
        raise ValueError(
            f"{model or str(where)!r} could not be loaded as a pipeline ({_first_line(error)}): "
            f"name the zoo's stable-diffusion, a folder with a model_index.json, or an id on the "
            f"hub."
        ) from error
    return pipe.to(p.device), {} if guidance is None else {"guidance_scale": guidance}


def _folder(model: str) -> Path:
    """The folder of a model that is not the zoo's: the reader's own, or of the hub's cache.

    From the hub only safetensors come, and the token goes to the official endpoint alone.
    """
    import os

    from diffusers import DiffusionPipeline
    from huggingface_hub import hf_hub_download

    from companion.door import Untrusted
    from companion.door.models import INDEX, check_index
    from companion.hub import find_endpoint
    from companion.hub.tokens import may_be_told, token_for

    if os.path.lexists(model) or not AN_ID.fullmatch(model):
        return Path(model)
    try:
        token = token_for(find_endpoint(), may_be_told())
        check_index(Path(hf_hub_download(model, INDEX, token=token)))  # Diffusers takes it as it is
        return Path(DiffusionPipeline.download(model, use_safetensors=True, token=token))
    except Untrusted:
        raise
    except Exception as error:  # libraries raise what they like
        raise _not_fetched(error, model) from error


def _not_fetched(error: Exception, model: str) -> Exception:
    """The sentence for what Diffusers says of a model that it cannot fetch."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    from companion.hub import find_endpoint
    from companion.hub.errors import explain

    cause: BaseException | None = error
    while cause is not None:
        of_network = hasattr(type(cause), "request")  # those of httpx, whatever it is called
        if of_network or isinstance(cause, (HfHubHTTPError, OfflineModeIsEnabled)):
            return explain(cause, find_endpoint(), model)
        cause = cause.__cause__
    if isinstance(error, OSError) and error.errno is not None:  # the disk's
        return explain(error, find_endpoint(), model)
    if "safetensors" in str(error):
        return ValueError(
            f"Some of the weights of {model} are not on the hub as safetensors, and pickles may "
            "run code when they are read: take a copy of the model whose weights are safetensors."
        )
    return ValueError(f"{model} could not be fetched as a pipeline ({_first_line(error)}).")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _slug(prompt: str) -> str:
    words = re.sub(r"\W+", "-", prompt.lower()).strip("-")[:60]
    return words.encode()[:LONGEST_NAME].decode(errors="ignore").rstrip("-") or "picture"
