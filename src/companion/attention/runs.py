"""One call of a pipeline: what is drawn, and which rows of each batch are to be looked at."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .calls import View, view_of
from .directions import Direction
from .layers import Layer, grid
from .prompting import Prompting, prompting_of
from .queries import Call
from .shares import probabilities
from .sums import HeatMaps
from .words import PromptTokens


@dataclass(frozen=True)
class Asked:
    """What a trace was asked for, beside what it keeps apart.

    Attributes:
        direction: who reads, and from what.
        negative: in the negative prompt's half.
        among_sources: shares are of the direction's sources alone.
    """

    direction: Direction
    negative: bool
    among_sources: bool


class Run(ABC):
    """One call of the pipeline; the next one forgets it."""

    def __init__(
        self, maps: HeatMaps, layers: Sequence[Layer], denoiser: nn.Module, asked: Asked
    ) -> None:
        self.maps = maps
        self.layers = layers
        self.forward = inspect.signature(type(denoiser).forward)
        self.asked = asked
        self.pipeline = ""
        self.guidance: float | None = None
        self.rows: slice | None = None
        self.view: View | None = None
        self.tokens: slice | list[int] = slice(None)

    @abstractmethod
    def encoding(self, pipe: Any, denoiser: nn.Module, given: Mapping[str, Any]) -> None:
        """The pipeline is about to encode prompts."""

    @abstractmethod
    def encoded(self, output: Any) -> None:
        """It has."""

    @abstractmethod
    def choose(self, view: View, given: Mapping[str, Any]) -> slice | None:
        """The rows of the denoiser's batch to look at, or None in a call that does not count."""

    def step(self, denoiser: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """The denoiser is called."""
        given = self.forward.bind_partial(denoiser, *args, **kwargs)
        given.apply_defaults()
        self.view = view_of(denoiser, given.arguments)
        self.rows = self.choose(self.view, given.arguments)
        if self.rows is not None:
            self.maps.next_step(self.view.timestep, self.view.height, self.view.width)

    def add(self, number: int, made: Mapping[str, Tensor], arguments: Mapping[str, Any]) -> None:
        """A layer has run."""
        if self.rows is None or self.view is None:
            return
        layer, direction = self.layers[number], self.asked.direction
        seen = layer.kind.read(Call(layer.attention, made, arguments, self.view, self.rows))
        for heads, some in probabilities(
            seen, direction, self.tokens, among_sources=self.asked.among_sources
        ):
            if "picture" in direction:
                height, width = grid(some.shape[-1], self.maps.height, self.maps.width)
            else:
                height, width = 1, some.shape[-1]
            self.maps.add(number, heads, some, height, width)

    def start(
        self,
        prompting: Prompting,
        tokens: Sequence[PromptTokens | None],
        others: Sequence[PromptTokens],
        each: int,
    ) -> None:
        """Forget what was gathered, and be ready for these prompts, with so many pictures each."""
        self.maps.tokenize = prompting.tokens
        positions = {
            token.position
            for prompt in (*tokens, *others)
            if prompt is not None
            for token in prompt.tokens
        }
        if None in tokens:
            positions = set(range(sum(prompting.limits) - prompting.frame.dropped))
        self.maps.others = {prompt.prompt for prompt in others}
        kept = sorted(positions)
        self.tokens = slice(len(kept)) if kept == list(range(len(kept))) else kept
        self.maps.begin([prompt for prompt in tokens for _ in range(each)], kept)
        self.maps.settings = {
            "pipeline": self.pipeline,
            "negative": self.asked.negative,
            "guidance_scale": self.guidance,
        }


class InOneBatch(Run):
    """Stable Diffusion's: the negative prompt's rows first, then the prompt's."""

    guided = False

    def encoding(self, pipe: Any, denoiser: nn.Module, given: Mapping[str, Any]) -> None:
        """The pipeline is about to encode prompts."""
        self.guided = bool(given["do_classifier_free_guidance"])
        self.pipeline = type(pipe).__name__
        self.guidance = getattr(pipe, "guidance_scale", None) if self.guided else None
        negative = self.asked.negative
        if negative and not self.guided:
            raise ValueError(WITHOUT_GUIDANCE)
        if _differ(given, "prompt", "prompt_3") or _differ(
            given, "negative_prompt", "negative_prompt_3"
        ):
            raise ValueError(
                "Different prompts for the text encoders of one picture cannot be told apart: "
                "leave out prompt_3."
            )
        prompting = prompting_of(pipe, denoiser, given)
        tokens = [
            None if prompt is None else prompting.tokens(prompt)
            for prompt in _prompts(given, negative)
        ]
        # SDXL's second prompt stands at the same places, and may be the longer one.
        second = "negative_prompt_2" if negative else "prompt_2"
        others = [prompting.tokens(prompt) for prompt in _texts(given.get(second))]
        self.start(prompting, tokens, others, given.get("num_images_per_prompt") or 1)

    def encoded(self, output: Any) -> None:
        """It has."""

    def choose(self, view: View, given: Mapping[str, Any]) -> slice | None:
        """The rows of the denoiser's batch to look at."""
        if given.get("skip_layers") is not None:
            return None  # SD3's pass with layers left out, a second one in the same step
        pictures = len(self.maps.prompts)
        if not pictures:
            raise RuntimeError(NO_PROMPT)
        if self.guided and view.batch == 2 * pictures:
            return slice(0, pictures) if self.asked.negative else slice(pictures, None)
        if view.batch == pictures and not self.asked.negative:
            return slice(pictures)
        raise RuntimeError(
            f"The denoiser got a batch of {view.batch} for {pictures} pictures, "
            f"{'with' if self.guided else 'without'} guidance: that cannot be told apart."
        )


@dataclass(frozen=True)
class Encoding:
    """Prompts that were encoded: what they were, and what came of them, one for each of them or of
    the pictures."""

    prompting: Prompting
    prompts: list[PromptTokens | None]
    vectors: list[Tensor]


class ByVectors(Run):
    """The later pipelines': prompts are encoded on their own, and known again by their vectors."""

    def __init__(
        self, maps: HeatMaps, layers: Sequence[Layer], denoiser: nn.Module, asked: Asked
    ) -> None:
        super().__init__(maps, layers, denoiser, asked)
        self.given: tuple[Prompting, Mapping[str, Any]] | None = None
        self.fresh: list[Encoding] = []  # since the denoiser ran last
        self.drawn: list[Encoding] = []  # the prompt's, and if there is one the negative prompt's

    def encoding(self, pipe: Any, denoiser: nn.Module, given: Mapping[str, Any]) -> None:
        """The pipeline is about to encode prompts."""
        # What Z-Image does with a list of prompts, it does to the list itself.
        texts = {
            name: value[:] if isinstance(value, list) else value for name, value in given.items()
        }
        self.given = prompting_of(pipe, denoiser, given), texts
        self.pipeline = type(pipe).__name__
        self.guidance = getattr(pipe, "guidance_scale", None)

    def encoded(self, output: Any) -> None:
        """It has."""
        assert self.given is not None  # `encoding` came before
        prompting, given = self.given
        vectors, more = output[0], output[1]
        # FLUX's second prompt is T5's, whose tokens the denoiser gets.
        texts = _texts(given.get("prompt_2")) or _texts(given.get("prompt"))
        if given.get("prompt_embeds") is not None:
            texts = []
        self._note(prompting, texts, vectors)
        if given.get("do_classifier_free_guidance"):  # Z-Image's brings both at once
            negatives = _texts(given.get("negative_prompt")) or [""] * len(vectors)
            known = given.get("negative_prompt_embeds") is None
            self._note(prompting, negatives if known else [], more)

    def choose(self, view: View, given: Mapping[str, Any]) -> slice | None:
        """The rows of the denoiser's batch to look at."""
        vectors = given["cap_feats"] if "cap_feats" in given else [given["encoder_hidden_states"]]
        if self.fresh:
            self.drawn, self.fresh = self._told_apart(vectors), []
            if self.asked.negative and len(self.drawn) < 2:
                raise ValueError(WITHOUT_GUIDANCE)
            self._start(view, vectors)
        if not self.drawn:
            raise RuntimeError(NO_PROMPT)
        if not any(_is_of(vector, encoding) for vector in vectors for encoding in self.drawn):
            raise RuntimeError(
                "The denoiser got vectors that the pipeline did not encode in this call, so their "
                "words cannot be told: give prompts."
            )
        if "cap_feats" not in given:
            return slice(view.batch) if _is_of(vectors[0], self._traced()) else None
        rows = [i for i, vector in enumerate(vectors) if _is_of(vector, self._traced())]
        return slice(rows[0], rows[-1] + 1) if rows else None

    def _note(self, prompting: Prompting, texts: list[str], vectors: Any) -> None:
        listed = vectors if isinstance(vectors, list) else [vectors]
        count = len(vectors)
        prompts: list[PromptTokens | None] = [prompting.tokens(text) for text in texts]
        self.fresh.append(Encoding(prompting, prompts or [None] * count, listed))

    def _told_apart(self, vectors: Sequence[Tensor]) -> list[Encoding]:
        """What is drawn now, of all that was encoded: the prompt's comes first to the denoiser."""
        for i, encoding in enumerate(self.fresh):
            if _is_of(vectors[0], encoding):
                others = [e for e in self.fresh[i + 1 :] if e.vectors[0] is not encoding.vectors[0]]
                return [encoding, *others[:1]]
        return []

    def _traced(self) -> Encoding:
        return self.drawn[1 if self.asked.negative else 0]

    def _start(self, view: View, vectors: Sequence[Tensor]) -> None:
        if not self.drawn:
            return
        traced = self._traced()
        rows = view.batch
        if len(vectors) == rows:
            rows = sum(_is_of(vector, traced) for vector in vectors) or rows
        each = max(1, rows // len(traced.prompts))
        self.start(traced.prompting, traced.prompts, [], each)


NO_PROMPT = (
    "The denoiser ran before the pipeline encoded a prompt: call the pipeline itself, or "
    "pipe.encode_prompt, inside the trace."
)
WITHOUT_GUIDANCE = (
    "Without guidance the negative prompt takes no part, so there is nothing to trace."
)


def _is_of(vector: Tensor, encoding: Encoding) -> bool:
    return any(vector is known for known in encoding.vectors)


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
