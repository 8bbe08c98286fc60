"""Which tokens of a prompt are which of its words."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Token:
    """One token, as the denoiser gets it.

    Attributes:
        piece: the vocabulary's entry, such as "cat</w>".
        position: its place among all tokens that the denoiser gets, from 0.
        start: where in the prompt its characters begin; for tokens that start, end or separate, -1.
        end: where they end, likewise.
    """

    piece: str
    position: int
    start: int = -1
    end: int = -1


@dataclass(frozen=True)
class PromptTokens:
    """A prompt, its tokens, and the words that they spell.

    Attributes:
        prompt: the text.
        tokens: those that fit the text encoder, without padding: start, the prompt's, and one end.
            With several text encoders behind one another (SD3), one run of tokens after the other.
        words: where each word of the prompt starts and ends, cut off or not. Punctuation counts.
        fitting: where in the prompt the last word ends that fits.
        limit: how many tokens the text encoder takes, the longest of several.
    """

    prompt: str
    tokens: tuple[Token, ...]
    words: tuple[tuple[int, int], ...] = field(repr=False)
    fitting: int = field(repr=False)
    limit: int

    def find(self, phrase: str, offset: int = 0) -> list[list[int]]:
        """Indices into `tokens` of each place where a word or phrase stands, whole, in any case.

        Args:
            phrase: one word or several, as they stand in the prompt; spaces between may differ.
            offset: moves each place by that many tokens.

        Raises:
            ValueError: it is not in the prompt, or was cut off; the sentence names the words that
                are there.
        """
        places = list(self._places(phrase))
        found = [self._inside(start, end) for start, end in places if end <= self.fitting]
        if not found:
            there = ", ".join(dict.fromkeys(self.readable_words())) or "none"
            if places:
                raise ValueError(
                    f"{phrase!r} was cut off, as the text encoder takes {self.limit} tokens; the "
                    f"words of the prompt that fit are: {there}."
                )
            raise ValueError(f"{phrase!r} is not in the prompt; its words are: {there}.")
        moved = [[index + offset for index in place] for place in found]
        if min(map(min, moved)) < 0 or max(map(max, moved)) >= len(self.tokens):
            raise ValueError(
                f"offset_idx={offset} leads from {phrase!r} past the prompt's {len(self.tokens)} "
                f"tokens."
            )
        return moved

    def readable_words(self) -> list[str]:
        """The words that fit, in order, without punctuation."""
        texts = [self.prompt[start:end] for start, end in self.words if end <= self.fitting]
        return [text for text in texts if not all(map(_is_punctuation, text))]

    def is_word(self) -> list[bool]:
        """For each token, whether it spells some of the prompt."""
        return [token.start >= 0 for token in self.tokens]

    def _places(self, phrase: str) -> Iterator[tuple[int, int]]:
        """Where in the prompt the phrase stands, from the start of a word to the end of one."""
        pattern = r"\s+".join(map(re.escape, phrase.split()))
        starts = {start for start, _ in self.words}
        ends = {end for _, end in self.words}
        for match in re.finditer(f"(?=({pattern}))", self.prompt, re.IGNORECASE):
            start, end = match.span(1)
            if start < end and start in starts and end in ends:
                yield start, end

    def _inside(self, start: int, end: int) -> list[int]:
        return [i for i, token in enumerate(self.tokens) if start <= token.start < end]


def tokenize(
    tokenizers: Sequence[Any], prompt: str, limits: Sequence[int] | None = None
) -> PromptTokens:
    """Split a prompt as a pipeline does.

    Args:
        tokenizers: one, or those of several text encoders whose tokens the denoiser gets one run
            behind the other. Encoders whose features are laid side by side, as SDXL's, count as
            one: their tokens stand at the same places.
        prompt: the text.
        limits: how many tokens each encoder takes; by default what its tokenizer says.

    Raises:
        ValueError: a tokenizer that does not tell where in the text its tokens come from.
    """
    limits = limits or [tokenizer.model_max_length for tokenizer in tokenizers]
    tokens: list[Token] = []
    words: list[tuple[int, int]] = []
    fitting = before = 0
    for tokenizer, limit in zip(tokenizers, limits, strict=True):
        if not tokenizer.is_fast:
            raise ValueError(
                f"{type(tokenizer).__name__} does not tell where in the prompt its tokens come "
                f"from: load a fast tokenizer."
            )
        whole = tokenizer(prompt, return_offsets_mapping=True, verbose=False)
        spans = _spans(whole, prompt)
        words = words or _words(whole, spans)
        last = len(prompt)
        if len(spans) > limit:
            cut = tokenizer(prompt, max_length=limit, truncation=True, return_offsets_mapping=True)
            spans = _spans(cut, prompt)
            last = max(end for _, end in spans)
            whole = cut
        fitting = max([fitting, *(end for _, end in words if end <= last)])
        tokens += [
            Token(piece, before + i, *span)
            for i, (piece, span) in enumerate(zip(whole.tokens(), spans, strict=True))
        ]
        before += limit
    return PromptTokens(prompt, tuple(tokens), tuple(words), fitting, max(limits))


def _spans(encoding: Any, prompt: str) -> list[tuple[int, int]]:
    """Where each token's characters are in the prompt, without the space that some put before."""
    spans = []
    for (start, end), word in zip(encoding.offset_mapping, encoding.word_ids(), strict=True):
        while start < end and prompt[start].isspace():
            start += 1
        spans.append((-1, -1) if word is None else (start, end))
    return spans


def _words(encoding: Any, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where each word's characters are: those of its tokens together."""
    words: dict[int, tuple[int, int]] = {}
    for word, (start, end) in zip(encoding.word_ids(), spans, strict=True):
        if word is not None:
            first, _ = words.get(word, (start, end))
            words[word] = (first, end)
    return list(words.values())


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P")
