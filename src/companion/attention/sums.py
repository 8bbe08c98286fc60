"""What a trace gathers: attention summed in place, and the maps that are made of the sums."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from companion.door.numbers import shown, whole
from companion.door.prompts import check_text
from companion.stable_diffusion import LARGEST_SIDE

from .directions import TO_PICTURE, direction_of
from .heat_map import GlobalHeatMap, WordHeatMap
from .words import PromptTokens

AXES = ("step", "layer", "head")


class Key(NamedTuple):
    """What one sum is of.

    Attributes:
        step: number of the denoiser's call, or None where steps are summed up.
        layer: number of the layer, or None where the layers of one size are summed up.
        height: of the layer; from text to text, 1.
        width: of the layer; from text to text, the number of tokens.
    """

    step: int | None
    layer: int | None
    height: int
    width: int


class HeatMaps:
    """The attention between tokens and places of each picture, summed over what was not kept apart.

    Attributes:
        by: which of "step", "layer", "head" are kept apart.
        direction: who gives and who reads, such as "text to picture".
        prompts: for each picture its prompt, as tokens; None where embeddings were given instead.
        layers: the layers' names; `layer_idx` counts them.
        heads: how many heads each has.
        height: of the latents.
        width: of the latents.
        sums: by `Key`, float32 of shape (pictures, heads, tokens, height, width); one head where
            heads are summed up. From picture to picture, a map for each place that reads, row by
            row, in place of tokens; from text to text, a row for each token that reads.
        members: the numbers of the layers in each sum.
        positions: which of all the tokens the sums hold: the prompts', not the padding behind.
        settings: what is worth knowing of the run besides, which `save` writes along.
    """

    def __init__(
        self,
        by: Iterable[str],
        layers: Sequence[str],
        heads: Sequence[int],
        direction: str = TO_PICTURE.name,
    ) -> None:
        self.direction = direction_of(direction).name
        try:
            names: list[Any] = [by] if isinstance(by, str) else list(by)
        except TypeError:  # no list at all, or torch's number of no side
            names = [by]
        if unknown := [name for name in names if name not in AXES]:
            raise ValueError(
                f"by={unknown} names nothing that can be kept apart: {', '.join(AXES)} can."
            )
        self.by = frozenset(names)
        self.layers = tuple(layers)
        self.heads = tuple(heads)
        self.tokenize: Callable[[str], PromptTokens] | None = None
        self.others: set[str] = set()
        self.settings: dict[str, Any] = {}
        self.begin([], [])

    def begin(self, prompts: Sequence[PromptTokens | None], positions: Sequence[int]) -> None:
        """Forget what was gathered, and be ready for these pictures."""
        self.prompts = tuple(prompts)
        self.positions = tuple(positions)
        self.height = self.width = 0
        self.sums: dict[Key, Tensor] = {}
        self.members: dict[Key, set[int]] = {}
        self._timesteps: list[Tensor | float] = []

    def next_step(self, timestep: Tensor | float, height: int, width: int) -> None:
        """Count one call of the denoiser, on latents of that size."""
        self._timesteps.append(timestep)
        self.height, self.width = height, width

    def add(self, layer: int, heads: slice, probabilities: Tensor, height: int, width: int) -> None:
        """Add (pictures, heads, tokens, places) of some heads of a layer in the current step."""
        key = Key(
            self.steps - 1 if "step" in self.by else None,
            layer if "layer" in self.by else None,
            height,
            width,
        )
        pictures, _, tokens, _ = probabilities.shape
        if key not in self.sums:
            rows = self.heads[layer] if "head" in self.by else 1
            self.sums[key] = probabilities.new_zeros(pictures, rows, tokens, height, width)
            self.members[key] = set()
        self.members[key].add(layer)
        # Tang et al. 2023, the sum over the steps: S_{k,l,h} = Σ_t A_{l,h}^{(t)}[·, k]
        maps = probabilities.unflatten(-1, (height, width))
        if "head" in self.by:
            self.sums[key][:, heads] += maps
        else:
            self.sums[key] += maps.sum(1, keepdim=True)

    @property
    def steps(self) -> int:
        """How often the denoiser was called."""
        return len(self._timesteps)

    @property
    def timesteps(self) -> list[float]:
        """The timestep of each call."""
        return [float(timestep) for timestep in self._timesteps]

    def factors(self) -> list[int]:
        """The sizes of the layers: how many times smaller than the latents they are."""
        return sorted({self._factor(key) for key in self.sums})

    @torch.no_grad()
    def compute_global_heat_map(
        self,
        prompt: str | None = None,
        factors: Iterable[int] | None = None,
        head_idx: int | None = None,
        layer_idx: int | None = None,
        normalize: bool = False,
        *,
        step_idx: int | None = None,
        image_idx: int = 0,
        size: tuple[int, int] | None = None,
    ) -> GlobalHeatMap:
        """One map for each token of a picture's prompt.

        Chapter 6, "All steps, all heads, all layers".

        Each layer's and head's sum over the steps is brought to one size by bicubic interpolation,
        clamped at 0, for bicubic curves undershoot, and the mean is taken over layers and heads.
        That is daam's order. Where layers or heads are not kept apart, their sum is interpolated
        and clamped as one: then places near 0 come out a little lower, as what undershoots in one
        head takes from what the others give.

        Args:
            prompt: whose tokens the maps are of: by default the one the picture was drawn from.
                With SDXL, `prompt_2` is the other one to ask for.
            factors: only layers so many times smaller than the latents; by default all.
            head_idx: only that head of each layer.
            layer_idx: only that layer, numbered as in `layers`.
            normalize: divide by the sum over the prompt's tokens, start and end left out.
            step_idx: only that call of the denoiser, from 0.
            image_idx: which of the pictures that were drawn in one call.
            size: height and width of the maps; by default the latents'.

        Raises:
            ValueError: nothing was traced, or what is asked for was not kept or does not exist, or
                another prompt was drawn.
        """
        self._is_of("compute_global_heat_map", "text to picture", "picture to text")
        picture = self._picture(image_idx)
        tokens = self._tokens(prompt, picture)
        rows = self._rows(tokens)
        size = (self.height, self.width) if size is None else _side_by_side(size)
        total = self._mean(
            lambda key, summed: _resize(summed[picture][:, rows], size),
            factors,
            head_idx,
            layer_idx,
            step_idx,
        )
        if normalize:
            spelled = torch.tensor(tokens.is_word(), device=total.device)
            total /= total[spelled].sum(0, keepdim=True) + 1e-6
        return GlobalHeatMap(tokens, total)

    @torch.no_grad()
    def compute_place_heat_map(
        self,
        place: tuple[int, int],
        factors: Iterable[int] | None = None,
        head_idx: int | None = None,
        layer_idx: int | None = None,
        *,
        step_idx: int | None = None,
        image_idx: int = 0,
        size: tuple[int, int] | None = None,
    ) -> WordHeatMap:
        """From which places one place of the picture reads, of a trace from picture to picture.

        Chapter 7, "Joint attention against the exact masks".

        Args:
            place: row and column among the latents', from 0. In a coarser layer the place is the
                one that covers it.
            factors: as for `compute_global_heat_map`, like all that follow.
            head_idx: only that head of each layer.
            layer_idx: only that layer.
            step_idx: only that call of the denoiser.
            image_idx: which of the pictures.
            size: height and width of the map; by default the latents'.

        Raises:
            ValueError: as `compute_global_heat_map`, or the trace was of another direction, or the
                place lies outside of the picture.
        """
        self._is_of("compute_place_heat_map", "picture to picture")
        picture = self._picture(image_idx)
        row, column = self._place(place)
        size = (self.height, self.width) if size is None else _side_by_side(size)

        def its_map(key: Key, summed: Tensor) -> Tensor:
            reader = row * key.height // self.height * key.width
            reader += column * key.width // self.width
            return _resize(summed[picture][:, reader : reader + 1], size)

        return WordHeatMap(self._mean(its_map, factors, head_idx, layer_idx, step_idx)[0])

    @torch.no_grad()
    def compute_token_table(
        self,
        prompt: str | None = None,
        head_idx: int | None = None,
        layer_idx: int | None = None,
        *,
        step_idx: int | None = None,
        image_idx: int = 0,
    ) -> Tensor:
        """How much each token reads from each, of a trace from text to text.

        Args:
            prompt: whose tokens; by default the one the picture was drawn from.
            head_idx: only that head of each layer.
            layer_idx: only that layer.
            step_idx: only that call of the denoiser.
            image_idx: which of the pictures.

        Returns:
            A row for each token that reads and a column for each that is read, summed over the
            steps, in float32, of shape (tokens, tokens).

        Raises:
            ValueError: as `compute_global_heat_map`, or the trace was of another direction.
        """
        self._is_of("compute_token_table", "text to text")
        picture = self._picture(image_idx)
        rows = self._rows(self._tokens(prompt, picture))
        return self._mean(
            lambda key, summed: summed[picture][:, rows, 0][:, :, rows],
            None,
            head_idx,
            layer_idx,
            step_idx,
        )

    def _mean(
        self,
        of: Callable[[Key, Tensor], Tensor],
        factors: Iterable[int] | None,
        head_idx: int | None,
        layer_idx: int | None,
        step_idx: int | None,
    ) -> Tensor:
        """The mean over layers and heads of what is taken of each sum, (heads, ...)."""
        total: Tensor | None = None
        maps_in_total = 0
        for key, summed in self._chosen(factors, head_idx, layer_idx, step_idx).items():
            heads = slice(None) if head_idx is None else slice(head_idx, head_idx + 1)
            # Tang et al. 2023, as their code has it: D_k = 1/N Σ_{l,h} max(0, bicubic(S_{k,l,h}))
            maps = of(key, summed[:, heads]).sum(0)
            total = maps if total is None else total.add_(maps)
            for layer in self.members[key]:
                maps_in_total += self.heads[layer] if head_idx is None else 1
        if total is None:
            asked = {
                "factors": factors,
                "layer_idx": layer_idx,
                "head_idx": head_idx,
                "step_idx": step_idx,
            }
            given = ", ".join(
                f"{name}={value}" for name, value in asked.items() if value is not None
            )
            raise ValueError(
                f"No layer fits {given}: the factors are {self.factors()}, and the layers have "
                f"{' or '.join(map(str, sorted(set(self.heads))))} heads."
            )
        total /= maps_in_total
        return total

    def _is_of(self, method: str, *directions: str) -> None:
        if self.direction not in directions:
            wanted = " or ".join(f"direction={name!r}" for name in directions)
            raise ValueError(
                f"{method} needs a trace with {wanted}, but this one is from {self.direction}."
            )

    def _place(self, place: Any) -> tuple[int, int]:
        try:
            row, column = (whole("A row or column", number) for number in place)
        except (TypeError, ValueError):
            row = column = -1
        if not (0 <= row < self.height and 0 <= column < self.width):
            raise ValueError(
                f"place is {shown(place)}, but it is a row below {self.height} and a column below "
                f"{self.width}, counted from 0."
            )
        return row, column

    def _chosen(
        self,
        factors: Iterable[int] | None,
        head_idx: int | None,
        layer_idx: int | None,
        step_idx: int | None,
    ) -> dict[Key, Tensor]:
        """The sums that are asked for, those of several steps added up."""
        self._check("head", head_idx, max(self.heads))
        self._check("layer", layer_idx, len(self.layers))
        self._check("step", step_idx, self.steps)
        try:
            wanted = None if factors is None else set(factors)
        except TypeError as error:
            raise ValueError(f"factors is {shown(factors)}, but it is a set of numbers.") from error
        chosen: dict[Key, Tensor] = {}
        for key, summed in self.sums.items():
            if (
                (wanted is None or self._factor(key) in wanted)
                and (layer_idx is None or key.layer == layer_idx)
                and (step_idx is None or key.step == step_idx)
                and (head_idx is None or head_idx < summed.shape[1])
            ):
                chosen[key] = summed
        if "step" not in self.by or step_idx is not None:
            return chosen
        together: dict[Key, Tensor] = {}
        for key, summed in chosen.items():
            first = key._replace(step=0)
            together[first] = together[first] + summed if first in together else summed
        return together

    def _check(self, axis: str, index: int | None, count: int) -> None:
        if index is None:
            return
        if axis not in self.by:
            kept = tuple(name for name in AXES if name in self.by or name == axis)
            raise ValueError(
                f"{axis}_idx={index} asks for one {axis}, but the trace summed over them: "
                f"trace(pipe, by={kept!r}) keeps them apart."
            )
        if not 0 <= whole(f"{axis}_idx", index) < count:
            raise ValueError(f"{axis}_idx={index}, but there are {count} {axis}s, counted from 0.")

    def _picture(self, image_idx: int) -> int:
        if not self.sums:
            raise ValueError(
                "No heat maps were traced: call the pipeline inside `with trace(pipe) as maps:`."
            )
        if not 0 <= whole("image_idx", image_idx) < len(self.prompts):
            raise ValueError(
                f"image_idx={image_idx}, but {len(self.prompts)} pictures were drawn, counted "
                f"from 0."
            )
        return image_idx

    def _tokens(self, prompt: str | None, picture: int) -> PromptTokens:
        known = {tokens.prompt: tokens for tokens in self.prompts if tokens is not None}
        if prompt is None:
            tokens = self.prompts[picture]
            if tokens is None:
                raise ValueError(
                    "The pipeline was given embeddings, not a prompt, so its words are unknown: "
                    "say which in compute_global_heat_map(prompt=...)."
                )
            return tokens
        check_text("The prompt", prompt)
        for same in (prompt, unicodedata.normalize("NFC", prompt)):
            if same in known:
                return known[same]
        if self.tokenize is None:
            raise ValueError(
                f"Maps that were loaded know the prompts they were saved with, but not {prompt!r}."
            )
        tokens = self.tokenize(prompt)
        if None not in self.prompts and tokens.prompt not in {*known, *self.others}:
            drawn = ", ".join(repr(text) for text in known)
            raise ValueError(
                f"{shown(prompt)} is not what was drawn last in the trace, so there are no maps of "
                f"it: ask for {drawn if len(drawn) <= 200 else 'one that was'}."
            )
        return tokens

    def _rows(self, tokens: PromptTokens) -> slice | list[int]:
        """Where in the sums the tokens are."""
        row = {position: i for i, position in enumerate(self.positions)}
        rows = [row[token.position] for token in tokens.tokens]
        # A slice is a view, a list a copy.
        return slice(len(rows)) if rows == list(range(len(rows))) else rows

    def _factor(self, key: Key) -> int:
        return round((self.height * self.width / (key.height * key.width)) ** 0.5)


def _side_by_side(size: Any) -> tuple[int, int]:
    try:
        height, width = (whole("A side", side) for side in size)
    except (TypeError, ValueError):
        height = width = 0
    if not 1 <= min(height, width) <= max(height, width) <= LARGEST_SIDE:
        raise ValueError(
            f"size is {shown(size)}, but it is height and width, 1 to {LARGEST_SIDE} each."
        )
    return height, width


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic, (maps, tokens, h, w) to (maps, tokens, *size), never below 0."""
    height, width = maps.shape[-2:]
    if (height, width) == size:
        return maps
    rows, columns = _bicubic(height, size[0]).to(maps), _bicubic(width, size[1]).to(maps)
    return (rows @ maps @ columns.T).clamp_(min=0)


@lru_cache(maxsize=32)  # SDXL has 60 layers of two sizes
def _bicubic(before: int, after: int) -> Tensor:
    """The matrix (after, before) that interpolates a line of pixels.

    Interpolation is linear, so a product with its matrix does the same, for many maps at once and
    in a tenth of the time.
    """
    return F.interpolate(torch.eye(before)[None, None], size=(after, before), mode="bicubic")[0, 0]
