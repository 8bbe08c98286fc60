"""Tracing a pipeline while it draws."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any

import torch
from diffusers.loaders import TextualInversionLoaderMixin
from torch import Tensor, nn

from companion.door.compiled import is_compiled, uncompiled
from companion.door.prompts import check_text

from .layers import Layer, Seen, find_layers, grid, probabilities, watched
from .sums import HeatMaps
from .words import PromptTokens, tokenize


@contextmanager
def trace(
    pipe: Any, by: Iterable[str] = ("layer", "head"), *, negative: bool = False
) -> Iterator[HeatMaps]:
    """Gather which words the pixels attend to, while a pipeline draws.

    Chapter 6, "All steps, all heads, all layers".

        with trace(pipe) as maps:
            image = pipe("a cat on a blue background").images[0]
        heat_map = maps.compute_global_heat_map()
        heat_map.compute_word_heat_map("cat").plot_overlay(image)

    The picture is the one that the pipeline draws without, bit for bit: nothing is replaced, hooks
    read the queries and keys that the layers make, and the softmax is computed once more beside.
    A call of the pipeline forgets what the one before gathered. What `torch.compile` compiled runs
    as plain PyTorch during the trace, as compiled code does not heed hooks.

    In a UNet, words are fixed while pixels look at them, and each pixel shares out an attention of
    1 among all tokens: a map says which word a pixel was listening to. In a joint-attention
    transformer (SD3), pixels look at words and at each other in one softmax, so a map holds the
    part of 1 that a word gets beside all pixels. (At 1024 pixels SD3 has 4,096 places and 333
    tokens: shared out evenly, 8 % would go to tokens.) And words look back: from the second block
    on, a token holds what it has read from the picture and from the other words, so its map says
    less and less about the word alone.

    Args:
        pipe: a Stable Diffusion pipeline, 1, 2 or XL: text to image, image to image, inpainting or
            a kind of these; or Stable Diffusion 3.
        by: what is kept apart, of "step", "layer" and "head"; the rest is summed up in place.
        negative: trace the negative prompt instead, in the half of the batch that is its own.

    Yields:
        The maps, filled while the pipeline runs, and good for use after the block too.

    Raises:
        ValueError: a pipeline that cannot be traced.
    """
    whole = _denoiser(pipe)
    denoiser = uncompiled(whole)
    layers = find_layers(denoiser)
    maps = HeatMaps(by, [layer.name for layer in layers], [layer.heads for layer in layers])
    run = _Run(maps, layers, inspect.signature(type(denoiser).forward), negative)
    with ExitStack() as hooks:
        hooks.enter_context(_listening(pipe, partial(run.begin, pipe)))
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
    return _prompt_tokens(*_tokenizers(pipe, given), prompt)


class _Run:
    """One call of the pipeline: who is drawn, and which rows of the batch are theirs."""

    def __init__(
        self,
        maps: HeatMaps,
        layers: Sequence[Layer],
        forward: inspect.Signature,
        negative: bool,
    ) -> None:
        self.maps = maps
        self.layers = layers
        self.forward = forward
        self.negative = negative
        self.guided = False
        self.rows: slice | None = None
        self.tokens: slice | list[int] = slice(None)

    def begin(self, pipe: Any, given: Mapping[str, Any]) -> None:
        """The pipeline encodes its prompts."""
        self.guided = bool(given["do_classifier_free_guidance"])
        if self.negative and not self.guided:
            raise ValueError(
                "Without guidance the negative prompt takes no part, so there is nothing to trace."
            )
        if _differ(given, "prompt", "prompt_3") or _differ(
            given, "negative_prompt", "negative_prompt_3"
        ):
            raise ValueError(
                "Different prompts for the text encoders of one picture cannot be told apart: "
                "leave out prompt_3."
            )
        tokenizers, limits = _tokenizers(pipe, given)
        self.maps.tokenize = partial(_prompt_tokens, tokenizers, limits)
        tokens = [
            None if prompt is None else self.maps.tokenize(prompt)
            for prompt in _prompts(given, self.negative)
        ]
        known = [prompt for prompt in tokens if prompt is not None]
        positions = {token.position for prompt in known for token in prompt.tokens}
        if None in tokens:
            positions = set(range(sum(limits)))
        # SDXL's second prompt stands at the same places, and may be the longer one.
        second = "negative_prompt_2" if self.negative else "prompt_2"
        others = [self.maps.tokenize(prompt) for prompt in _texts(given.get(second))]
        positions |= {token.position for prompt in others for token in prompt.tokens}
        self.maps.others = {prompt.prompt for prompt in others}
        kept = sorted(positions)
        self.tokens = slice(len(kept)) if kept == list(range(len(kept))) else kept
        each = given.get("num_images_per_prompt") or 1
        self.maps.begin([prompt for prompt in tokens for _ in range(each)], kept)
        self.maps.settings = {
            "pipeline": type(pipe).__name__,
            "negative": self.negative,
            "guidance_scale": getattr(pipe, "guidance_scale", None) if self.guided else None,
        }

    def step(self, module: nn.Module, inputs: Any, arguments: Mapping[str, Any]) -> None:
        """The denoiser begins."""
        given = self.forward.bind_partial(module, *inputs, **arguments)
        name = "sample" if "sample" in given.arguments else "hidden_states"
        latents, timestep = given.arguments[name], given.arguments["timestep"]
        if given.arguments.get("skip_layers") is not None:
            self.rows = None  # SD3's pass with layers left out, a second one in the same step
            return
        pictures = len(self.maps.prompts)
        if not pictures:
            raise RuntimeError(
                "The denoiser ran before the pipeline encoded a prompt: call the pipeline itself, "
                "or pipe.encode_prompt, inside the trace."
            )
        if self.guided and len(latents) == 2 * pictures:
            self.rows = slice(0, pictures) if self.negative else slice(pictures, None)
        elif len(latents) == pictures and not self.negative:
            self.rows = slice(pictures)
        else:
            raise RuntimeError(
                f"The denoiser got a batch of {len(latents)} for {pictures} pictures, "
                f"{'with' if self.guided else 'without'} guidance: that cannot be told apart."
            )
        if isinstance(timestep, Tensor):
            timestep = timestep.detach().flatten()[-1]  # not yet a number: the GPU need not wait
        self.maps.next_step(timestep, *latents.shape[-2:])

    def add(self, number: int, seen: Seen) -> None:
        """A layer has run."""
        if self.rows is None:
            return
        layer = self.layers[number]
        height, width = grid(seen.queries.shape[1], self.maps.height, self.maps.width)
        for heads, some in probabilities(layer, seen, self.rows, self.tokens):
            self.maps.add(number, heads, some, height, width)


@contextmanager
def _listening(pipe: Any, begin: Callable[[Mapping[str, Any]], None]) -> Iterator[None]:
    """Call back with what the pipeline is asked to encode, each time before it does."""
    encode: Any = getattr(pipe, "encode_prompt", None)
    signature = inspect.signature(encode or trace)
    if "do_classifier_free_guidance" not in signature.parameters:
        raise ValueError(
            f"A {type(pipe).__name__} cannot be traced: it does not encode prompts with guidance "
            f"as Stable Diffusion's pipelines do."
        )

    @wraps(encode)
    def listening(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        begin(given.arguments)
        return encode(*args, **kwargs)

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


def _tokenizers(pipe: Any, given: Mapping[str, Any]) -> tuple[list[Any], list[int]]:
    """The tokenizers of the runs of tokens, one behind the other, and how long each run is."""
    first = getattr(pipe, "tokenizer", None) or pipe.tokenizer_2
    if not getattr(pipe, "tokenizer_3", None):
        return [first], [first.model_max_length]
    limits = [
        first.model_max_length,
        given["max_sequence_length"],
    ]
    return [first, pipe.tokenizer_3], limits


def _prompt_tokens(tokenizers: Sequence[Any], limits: Sequence[int], prompt: str) -> PromptTokens:
    check_text("The prompt", prompt)
    # A word learned by textual inversion may stand for several tokens, which pipelines write out.
    prompt = TextualInversionLoaderMixin().maybe_convert_prompt(prompt, tokenizers[0])
    return tokenize(tokenizers, prompt, limits)


def _prompts(given: Mapping[str, Any], negative: bool) -> list[str] | list[None]:
    """The prompts to trace, one for each, or None for each where embeddings were given."""
    prompts = _texts(given["prompt"])
    count = len(prompts) or len(given["prompt_embeds"])
    if not negative:
        return prompts or [None] * count
    if given.get("negative_prompt_embeds") is not None:
        return [None] * count
    negatives = _texts(given.get("negative_prompt")) or [""]
    return negatives * count if len(negatives) == 1 else negatives


def _differ(given: Mapping[str, Any], name: str, other: str) -> bool:
    return bool(given.get(other)) and _texts(given[other]) != _texts(given[name])


def _texts(prompt: str | Sequence[str] | None) -> list[str]:
    if prompt is None:
        return []
    return [prompt] if isinstance(prompt, str) else list(prompt)
