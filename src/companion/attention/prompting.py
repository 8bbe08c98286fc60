"""How a pipeline makes tokens of a prompt: with which tokenizers, how many, and what around it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffusers import (
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
    ZImageTransformer2DModel,
)
from diffusers.loaders import TextualInversionLoaderMixin
from diffusers.pipelines.flux2.pipeline_flux2 import format_input
from torch import nn

from companion.door.prompts import check_text

from .words import PLAIN, Frame, PromptTokens, tokenize

# Stands where a prompt would, to find what a template puts around it.
MARK = "\u27e6prompt\u27e7"


@dataclass(frozen=True)
class Prompting:
    """The tokenizers of the runs of tokens, one behind the other, how long each run is, and what
    stands around the prompt."""

    tokenizers: Sequence[Any]
    limits: Sequence[int]
    frame: Frame = PLAIN

    def tokens(self, prompt: str) -> PromptTokens:
        """A prompt's words and tokens.

        Raises:
            ValueError: as `companion.attention.words.tokenize`.
        """
        check_text("The prompt", prompt)
        # A word learned by textual inversion may stand for several tokens, which pipelines write
        # out.
        plain = TextualInversionLoaderMixin().maybe_convert_prompt(prompt, self.tokenizers[0])
        return tokenize(self.tokenizers, plain, self.limits, self.frame)


def prompting_of(pipe: Any, denoiser: nn.Module, given: Mapping[str, Any]) -> Prompting:
    """How this pipeline does it, when its `encode_prompt` is called with these arguments."""
    if isinstance(denoiser, FluxTransformer2DModel):
        # The denoiser gets the tokens of T5, and of CLIP a single vector for the whole prompt.
        return Prompting([pipe.tokenizer_2], [given["max_sequence_length"]])
    if isinstance(denoiser, Flux2Transformer2DModel):
        return _of_flux2(pipe, given["max_sequence_length"])
    if isinstance(denoiser, QwenImageTransformer2DModel):
        before, after = pipe.prompt_template_encode.split("{}")
        dropped = pipe.prompt_template_encode_start_idx
        limit = dropped + given["max_sequence_length"]
        return Prompting([pipe.tokenizer], [limit], Frame(before, after, dropped))
    if isinstance(denoiser, ZImageTransformer2DModel):
        before, after = _around(pipe.tokenizer, _message(MARK), think=True)
        return Prompting([pipe.tokenizer], [given["max_sequence_length"]], Frame(before, after))
    first = getattr(pipe, "tokenizer", None) or pipe.tokenizer_2
    if not getattr(pipe, "tokenizer_3", None):
        return Prompting([first], [first.model_max_length])
    return Prompting(
        [first, pipe.tokenizer_3], [first.model_max_length, given["max_sequence_length"]]
    )


def _of_flux2(pipe: Any, limit: int) -> Prompting:
    """FLUX.2's language model is told what it is there for; klein's is not."""
    tokenizer = getattr(pipe.tokenizer, "tokenizer", pipe.tokenizer)  # a processor's own
    if hasattr(pipe, "system_message"):
        (messages,) = format_input([MARK], system_message=pipe.system_message)
        before, after = _around(pipe.tokenizer, messages)
        special = not before.startswith(tokenizer.bos_token or MARK)
    else:
        before, after = _around(pipe.tokenizer, _message(MARK), think=False)
        special = True
    at_the_end = tokenizer.padding_side == "left"
    frame = Frame(before, after, at_the_end=at_the_end, special=special)
    return Prompting([tokenizer], [limit], frame)


def _message(prompt: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": prompt}]


def _around(
    tokenizer: Any, messages: list[dict[str, Any]], think: bool | None = None
) -> tuple[str, str]:
    """What a chat's template puts before the mark and behind it."""
    options = {"add_generation_prompt": False}
    if think is not None:
        options = {"add_generation_prompt": True, "enable_thinking": think}
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    before, mark, after = text.partition(MARK)
    if not mark:
        raise ValueError(
            f"The chat template of {type(tokenizer).__name__} leaves the prompt out, so its words "
            f"are not to be found."
        )
    return before, after
