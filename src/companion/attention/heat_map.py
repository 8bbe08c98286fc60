"""Maps of tokens and of words, laid over pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from companion.door.numbers import number, shown, whole
from companion.door.paths import file_path
from companion.door.pictures import as_rgb

from .words import PromptTokens

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class WordHeatMap:
    """How much attention each place of a picture paid to a word, summed over the steps.

    Attributes:
        heatmap: (height, width), as a rule the latents'; 0 or more.
        word: the word or phrase.
        word_idx: the number of its token, where it was asked for by that.
    """

    heatmap: Tensor
    word: str | None = None
    word_idx: int | None = None

    @property
    def value(self) -> Tensor:
        """The same as `heatmap`."""
        return self.heatmap

    def expand_as(
        self,
        image: Image.Image,
        absolute: bool = False,
        threshold: float | None = None,
        plot: bool = False,
        **plot_kwargs: Any,
    ) -> Tensor:
        """The map in the picture's size, by bicubic interpolation, on the CPU.

        Args:
            image: the picture, of any height and width.
            absolute: keep the values, rather than stretch them over 0 to 1.
            threshold: give a mask instead: 1 where the map is above, else 0.
            plot: also draw it, as `plot_overlay` with `plot_kwargs` does.

        Returns:
            Float32 of shape (height, width).
        """
        if threshold is not None:
            threshold = number("threshold", threshold)
        width, height = as_rgb(image).size  # turned as its EXIF data say
        expanded = F.interpolate(
            self.heatmap[None, None].float(), size=(height, width), mode="bicubic"
        )[0, 0].cpu()
        if not absolute:
            low, high = expanded.min(), expanded.max()
            expanded = (expanded - low) / (high - low + 1e-8)
        if threshold is not None:
            expanded = (expanded > threshold).float()
        if plot:
            self.plot_overlay(image, **plot_kwargs)
        return expanded

    def plot_overlay(
        self,
        image: Image.Image,
        out_file: str | Path | None = None,
        color_normalize: bool = True,
        ax: Axes | None = None,
        **expand_kwargs: Any,
    ) -> Axes:
        """Draw the map over the picture: where the map is high, its colour hides the picture.

        Args:
            image: the picture.
            out_file: also written there, as PNG or what its ending says.
            color_normalize: stretch the colours over the map's values, rather than over 0 to 1.
            ax: matplotlib's axes to draw on; by default new ones.
            **expand_kwargs: passed to `expand_as`.

        Returns:
            The axes, with the word as their title.

        Raises:
            ValueError: what is no picture, no path or no axes.
            OSError: the file cannot be written.
        """
        if out_file is not None and not hasattr(out_file, "write"):
            out_file = file_path("out_file", out_file)
        if not (ax is None or hasattr(ax, "imshow")):
            raise ValueError(f"ax is {shown(ax)}, but it is matplotlib's axes: leave it out.")
        expanded = self.expand_as(image, **expand_kwargs).numpy()
        picture = np.asarray(as_rgb(image), dtype=np.float32) / 255
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.figure().add_subplot()
        low, high = (None, None) if color_normalize else (0.0, 1.0)
        ax.imshow(expanded, cmap="jet", vmin=low, vmax=high)
        opacity = 1 - expanded.clip(0, 1)[..., None]
        ax.imshow(np.concatenate([picture, opacity], axis=-1))
        ax.set_axis_off()
        if self.word is not None:
            ax.set_title(self.word)
        if out_file is not None:
            figure: Any = ax.get_figure(root=True)
            figure.savefig(out_file, bbox_inches="tight")
        return ax

    def compute_ioa(self, other: WordHeatMap) -> float:
        """How much of this map lies where the other one is: sum(a * b) / sum(a).

        Chapter 6, "Two things in one picture".

        Meant for masks, or maps of 0 to 1. If the sizes differ, this one is brought to the other's
        and becomes a mask: 1 where it is 1 or more.

        Raises:
            ValueError: the other is no such map.
        """
        if not isinstance(other, WordHeatMap):
            raise ValueError(f"other is {shown(other)}, but it is the map of a word.")
        ours, theirs = self.heatmap.float(), other.heatmap.float()
        if ours.shape != theirs.shape:
            ours = F.interpolate(ours[None, None], size=theirs.shape, mode="bicubic")[0, 0]
            ours = (ours >= 1).float()
        return ((ours * theirs).sum() / (ours.sum() + 1e-8)).item()


@dataclass(frozen=True)
class GlobalHeatMap:
    """One map for each token of a prompt.

    Attributes:
        tokens: the prompt and its tokens.
        heat_maps: (tokens, height, width): the start's, those of the prompt, the end's.
    """

    tokens: PromptTokens
    heat_maps: Tensor

    @property
    def prompt(self) -> str:
        """The prompt."""
        return self.tokens.prompt

    @property
    def words(self) -> list[str]:
        """The prompt's words that fit the text encoder, in order, without punctuation."""
        return self.tokens.readable_words()

    def compute_word_heat_map(
        self,
        word: str | None,
        word_idx: int | None = None,
        offset_idx: int = 0,
        *,
        occurrence: int | None = None,
    ) -> WordHeatMap:
        """The mean map of a word's or phrase's tokens.

        Chapter 6, "One word's map".

        Args:
            word: it, as it stands in the prompt, in any case. A part of a word is not found.
            word_idx: instead, the number of one token, the prompt's first being 0.
            offset_idx: moves to the token so many places on, for every place of the word.
            occurrence: of a word that the prompt holds several times, which, from 0; by default the
                mean of all.

        Raises:
            ValueError: the word is not in the prompt, or was cut off, or has no such occurrence.
        """
        if word_idx is not None:
            indices = [self._token(word_idx)]
        elif word is None:
            raise ValueError("Say which word, or give the number of its token as word_idx.")
        else:
            places = self.tokens.find(word, offset_idx)
            if occurrence is not None:
                if not 0 <= whole("occurrence", occurrence) < len(places):
                    raise ValueError(
                        f"occurrence={occurrence}, but {word!r} stands {len(places)} times in the "
                        f"prompt, counted from 0."
                    )
                places = [places[occurrence]]
            indices = [index for place in places for index in place]
        return WordHeatMap(self.heat_maps[indices].mean(0), word, word_idx)

    def word_heat_maps(self) -> list[WordHeatMap]:
        """A map for each of `words`: a word that stands twice has two, one for each place."""
        return [
            WordHeatMap(
                self.heat_maps[self.tokens.inside(start, end)].mean(0), self.prompt[start:end]
            )
            for start, end in self.tokens.readable()
        ]

    def _token(self, word_idx: int) -> int:
        word_idx = whole("word_idx", word_idx)
        spelled = self.tokens.is_word()
        first = spelled.index(True) if True in spelled else 1  # some tokenizers put no start before
        if not 0 <= word_idx < len(self.heat_maps) - first:
            raise ValueError(
                f"word_idx={word_idx}, but the prompt has {sum(spelled)} tokens, counted from 0."
            )
        return first + word_idx
