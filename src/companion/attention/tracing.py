"""Tracing a pipeline while it draws."""

import inspect
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any

import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from torch import nn

from companion.door.compiled import is_compiled, uncompiled

from .directions import TO_PICTURE, direction_of
from .layers import find_layers, watched
from .prompting import prompting_of
from .runs import Asked, ByVectors, InOneBatch, Run
from .sums import HeatMaps
from .words import PromptTokens


@contextmanager
def trace(
    pipe: Any,
    by: Iterable[str] = ("layer", "head"),
    *,
    direction: str = TO_PICTURE.name,
    among_sources: bool = False,
    negative: bool = False,
) -> Iterator[HeatMaps]:
    """Gather which words the pixels attend to, while a pipeline draws.

    Chapter 6, "All steps, all heads, all layers". Chapter 7, "Joint attention against the exact
    masks".

        with trace(pipe) as maps:
            image = pipe("a cat on a blue background").images[0]
        heat_map = maps.compute_global_heat_map()
        heat_map.compute_word_heat_map("cat").plot_overlay(image)

    The picture is the one that the pipeline draws without, bit for bit: nothing is replaced, hooks
    read the queries and keys that the layers make, and the softmax is computed once more beside.
    A call of the pipeline forgets what the one before gathered. What `torch.compile` compiled runs
    as plain PyTorch during the trace, as compiled code does not heed hooks.

    In a UNet, words are fixed while pixels look at them, and each pixel shares out an attention of
    1 among all tokens: a map says which word a pixel was listening to. In a transformer with joint
    attention (Stable Diffusion 3, FLUX, FLUX.2, Qwen-Image, Z-Image), words and pixels look at
    words and pixels in one softmax. So there are four directions, each named by who gives and who
    reads:

    - "text to picture": how much each place of the picture reads from each token. The UNet's, too.
    - "picture to text": how much each token reads from each place.
    - "picture to picture": how much each place reads from each place. A UNet has it in layers of
      its own.
    - "text to text": how much each token reads from each token.

    All of them hold parts of one 1 that a reader shares out among everything: at 1024 pixels
    Stable Diffusion 3 has 4,096 places and 333 tokens, so that evenly shared 8 % would go to
    tokens. `among_sources` shares it out among the direction's sources alone. And words look back:
    from the second block on, a token holds what it has read from the picture and from the other
    words, so its map says less and less about the word alone.

    Traces may stand one inside another, each with its direction, around one call of the pipeline.
    From picture to picture a sum has as many maps as places, 64 MiB at 1024 pixels: with `by=()`
    there is only one.

    Args:
        pipe: a Stable Diffusion pipeline, 1, 2 or XL: text to image, image to image, inpainting or
            a kind of these; or one of Stable Diffusion 3, FLUX, FLUX.2, Qwen-Image or Z-Image.
        by: what is kept apart, of "step", "layer" and "head"; the rest is summed up in place.
        direction: one of the four.
        among_sources: a reader shares out 1 among the sources of this direction, rather than among
            all that it looks at.
        negative: trace the negative prompt instead, where it is looked at.

    Yields:
        The maps, filled while the pipeline runs, and good for use after the block too.

    Raises:
        ValueError: a pipeline that cannot be traced, or not in that direction.
    """
    asked = Asked(direction_of(direction), bool(negative), bool(among_sources))
    whole = _denoiser(pipe)
    denoiser = uncompiled(whole)
    layers = find_layers(denoiser, asked.direction)
    heads = [layer.heads for layer in layers]
    maps = HeatMaps(by, [layer.name for layer in layers], heads, direction)
    in_one_batch = isinstance(denoiser, UNet2DConditionModel | SD3Transformer2DModel)
    run = (InOneBatch if in_one_batch else ByVectors)(maps, layers, denoiser, asked)
    with ExitStack() as hooks:
        hooks.enter_context(_listening(pipe, denoiser, run))
        handle = denoiser.register_forward_pre_hook(run.step, with_kwargs=True)
        hooks.callback(handle.remove)
        for number, layer in enumerate(layers):
            hooks.enter_context(watched(layer, partial(run.add, number)))
        if is_compiled(whole):
            hooks.enter_context(torch.compiler.set_stance("force_eager"))
        yield maps


def tokens_of(pipe: Any, prompt: str) -> PromptTokens:
    """A prompt's words and tokens as a pipeline takes them, before it draws.

    Raises:
        ValueError: as `companion.attention.words.tokenize`, or no pipeline that encodes prompts.
    """
    if not hasattr(pipe, "encode_prompt"):
        raise ValueError(f"A {type(pipe).__name__} encodes no prompt: give a pipeline.")
    parameters = inspect.signature(pipe.encode_prompt).parameters
    given = {name: parameter.default for name, parameter in parameters.items()}
    return prompting_of(pipe, uncompiled(_denoiser(pipe)), given).tokens(prompt)


@contextmanager
def _listening(pipe: Any, denoiser: nn.Module, run: Run) -> Iterator[None]:
    """Tell a run what the pipeline is asked to encode, and what comes of it."""
    encode: Any = getattr(pipe, "encode_prompt", None)
    signature = inspect.signature(encode or trace)
    guided = "do_classifier_free_guidance" in signature.parameters
    if encode is None or not (guided or isinstance(run, ByVectors)):
        raise ValueError(
            f"A {type(pipe).__name__} cannot be traced: it does not encode prompts with guidance "
            f"as Stable Diffusion's pipelines do."
        )

    @wraps(encode)
    def listening(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        run.encoding(pipe, denoiser, given.arguments)
        output = encode(*args, **kwargs)
        run.encoded(output)
        return output

    before = vars(pipe).get("encode_prompt")
    pipe.encode_prompt = listening
    try:
        yield
    finally:
        if before is None:
            del pipe.encode_prompt
        else:
            pipe.encode_prompt = before


def _denoiser(pipe: Any) -> nn.Module:
    for name in ("unet", "transformer"):
        denoiser = getattr(pipe, name, None)
        if denoiser is not None:  # a compiled one has no truth value
            return denoiser
    raise ValueError(
        f"A {type(pipe).__name__} cannot be traced: it has neither a UNet nor a transformer."
    )
