"""Which tokens of a prompt are which of its words."""

import re
import unicodedata
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from companion.door.numbers import shown, whole
from companion.door.prompts import check_text

# What joins letters, or keeps them from joining, and is not seen itself.
UNSEEN = "\u200c\u200d\u2060"


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
        prompt: the text, in Unicode's normal form C where the tokenizer makes no difference.
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
        offset = whole("offset_idx", offset)
        moved = [[index + offset for index in self.inside(*place)] for place in self.places(phrase)]
        if min(map(min, moved)) < 0 or max(map(max, moved)) >= len(self.tokens):
            raise ValueError(
                f"offset_idx={offset} leads from {phrase!r} past the prompt's {len(self.tokens)} "
                f"tokens."
            )
        return moved

    def places(self, phrase: str) -> list[tuple[int, int]]:
        """Where in the prompt a word or phrase starts and ends, each time that it fits.

        Raises:
            ValueError: as `find`.
        """
        check_text("A word or phrase", phrase)
        places = list(self._places(phrase))
        found = [place for place in places if place[1] <= self.fitting]
        if not found:
            there = ", ".join(dict.fromkeys(self.readable_words())) or "none"
            if places:
                raise ValueError(
                    f"{phrase!r} was cut off, as the text encoder takes {self.limit} tokens; the "
                    f"words of the prompt that fit are: {there}."
                )
            raise ValueError(f"{phrase!r} is not in the prompt; its words are: {there}.")
        return found

    def chosen(self, phrases: Sequence[str] | None = None) -> list[tuple[int, int]]:
        """Where phrases stand, in the prompt's order; by default where all its readable words do.

        Raises:
            ValueError: as `find`; or two of them overlap, or the prompt has no words.
        """
        if phrases is None:
            places = self.readable()
        else:
            if isinstance(phrases, str) or not isinstance(phrases, Sequence | Set):
                raise ValueError(f"phrases is {shown(phrases)}, but it is a list of texts.")
            places = sorted({place for phrase in phrases for place in self.places(phrase)})
        if not places:
            raise ValueError(f"The prompt {self.prompt!r} has no words: name a thing to draw.")
        for (start, end), (after, last) in pairwise(places):
            if after < end:
                raise ValueError(
                    f"{self.prompt[start:end]!r} and {self.prompt[after:last]!r} overlap: leave "
                    f"out one of them."
                )
        return places

    def readable(self) -> list[tuple[int, int]]:
        """Where the words that fit start and end, in order, without punctuation."""
        return [
            (start, end)
            for start, end in self.words
            if end <= self.fitting and not all(map(_says_nothing, self.prompt[start:end]))
        ]

    def readable_words(self) -> list[str]:
        """The words that fit, in order, without punctuation."""
        return [self.prompt[start:end] for start, end in self.readable()]

    def inside(self, start: int, end: int) -> list[int]:
        """Indices into `tokens` of those that spell a part of the prompt."""
        return [i for i, token in enumerate(self.tokens) if start <= token.start < end]

    def is_word(self) -> list[bool]:
        """For each token, whether it spells some of the prompt."""
        return [token.start >= 0 for token in self.tokens]

    def _places(self, phrase: str) -> Iterator[tuple[int, int]]:
        """Where in the prompt the phrase stands, from the start of a word to the end of one."""
        folded, origins = _folded(self.prompt)
        normal = unicodedata.normalize("NFC", phrase)
        pattern = r"\s+".join(re.escape(_folded(word)[0]) for word in normal.split())
        # A letter that folds to several, as ß to ss, is found whole or not at all.
        starts = {start for start, _ in self.words}
        ends = {end for _, end in self.words}
        for match in re.finditer(f"(?=({pattern}))", folded) if pattern else ():
            first, last = match.span(1)
            start, end = origins[first], origins[last - 1] + 1
            whole = origins[first - 1 : first] != [start] and origins[last : last + 1] != [end - 1]
            if whole and start in starts and end in ends:
                yield start, end


@dataclass(frozen=True)
class Frame:
    """What a pipeline makes of a prompt before its text encoder reads it.

    Attributes:
        before: text in front of the prompt, such as a message to a language model.
        after: text behind it.
        dropped: how many of the first tokens the denoiser does not get.
        at_the_end: the tokens stand at the end of the encoder's places, behind the padding.
        special: the tokenizer adds its own start and end.
    """

    before: str = ""
    after: str = ""
    dropped: int = 0
    at_the_end: bool = False
    special: bool = True


PLAIN = Frame()


def tokenize(
    tokenizers: Sequence[Any],
    prompt: str,
    limits: Sequence[int] | None = None,
    frame: Frame = PLAIN,
) -> PromptTokens:
    """Split a prompt as a pipeline does.

    Args:
        tokenizers: one, or those of several text encoders whose tokens the denoiser gets one run
            behind the other. Encoders whose features are laid side by side, as SDXL's, count as
            one: their tokens stand at the same places.
        prompt: the text.
        limits: how many tokens each encoder takes; by default what its tokenizer says.
        frame: what the pipeline puts around the prompt.

    Raises:
        ValueError: a tokenizer that does not tell where in the text its tokens come from, or a
            prompt of bytes that are no text.
    """
    check_text("The prompt", prompt)
    prompt = _normal(tokenizers, prompt)
    limits = limits or [tokenizer.model_max_length for tokenizer in tokenizers]
    text = frame.before + prompt + frame.after
    tokens: list[Token] = []
    words: list[tuple[int, int]] = []
    fitting = before = 0
    for tokenizer, limit in zip(tokenizers, limits, strict=True):
        if not tokenizer.is_fast:
            raise ValueError(
                f"{type(tokenizer).__name__} does not tell where in the prompt its tokens come "
                f"from: load a fast tokenizer."
            )
        asked = {"return_offsets_mapping": True, "add_special_tokens": frame.special}
        whole = tokenizer(text, verbose=False, **asked)
        spans = _spans(whole, text, frame, len(prompt))
        words = words or _words(whole, spans, prompt)
        last = len(prompt)
        if len(spans) > limit:
            cut = tokenizer(text, max_length=limit, truncation=True, **asked)
            spans = _spans(cut, text, frame, len(prompt))
            last = max(end for _, end in spans)
            whole = cut
        fitting = max([fitting, *(end for _, end in words if end <= last)])
        first = before - frame.dropped
        if frame.at_the_end:
            first += limit - len(spans)
        tokens += [
            Token(piece, first + i, *span)
            for i, (piece, span) in enumerate(zip(whole.tokens(), spans, strict=True))
            if i >= frame.dropped
        ]
        before += limit
    return PromptTokens(prompt, tuple(tokens), tuple(words), fitting, max(limits))


def _spans(encoding: Any, text: str, frame: Frame, length: int) -> list[tuple[int, int]]:
    """Where each token's characters are in the prompt, without the space that some put before."""
    spans = []
    for (start, end), word in zip(encoding.offset_mapping, encoding.word_ids(), strict=True):
        while start < end and text[start].isspace():
            start += 1
        start, end = (min(max(at - len(frame.before), 0), length) for at in (start, end))
        outside = word is None or (frame != PLAIN and start == end)
        spans.append((-1, -1) if outside else (start, end))
    return spans


def _words(encoding: Any, spans: Sequence[tuple[int, int]], prompt: str) -> list[tuple[int, int]]:
    """Where each word's characters are: those of its tokens together.

    CLIP parts words at combining marks, and numbers into their digits. What such a mark stands in
    is one word here: İ, which in lower case is an i and a mark, and words of scripts that write
    vowels as marks; and so is a number.
    """
    parts: dict[int, tuple[int, int]] = {}
    for word, (start, end) in zip(encoding.word_ids(), spans, strict=True):
        if word is not None and start >= 0:
            first, _ = parts.get(word, (start, end))
            parts[word] = (first, end)
    words: list[tuple[int, int]] = []
    for start, end in parts.values():
        if words and _goes_on(words[-1], start, prompt):
            words[-1] = words[-1][0], max(end, words[-1][1])
        else:
            words.append((start, end))
    return [(start, start + len(prompt[start:end].rstrip(UNSEEN) or "_")) for start, end in words]


def _goes_on(word: tuple[int, int], start: int, prompt: str) -> bool:
    """Whether what starts there belongs to the word before it."""
    if start != word[1] or start == len(prompt):
        return start < word[1]
    letters = prompt[word[0]].isalpha() and prompt[start].isalpha()
    if all(unicodedata.category(char) == "Nd" for char in prompt[start - 1 : start + 1]):
        return True
    return _is_mark(prompt[start]) or (letters and _is_mark(prompt[start - 1]))


def _normal(tokenizers: Sequence[Any], prompt: str) -> str:
    """The prompt in normal form C, if the tokenizers take it for the same.

    Those that bring it to that form themselves tell no right places in another.
    """
    normal = unicodedata.normalize("NFC", prompt)
    same = normal == prompt or all(
        tokenizer(normal, verbose=False).input_ids == tokenizer(prompt, verbose=False).input_ids
        for tokenizer in tokenizers
    )
    return normal if same else prompt


def _folded(text: str) -> tuple[str, list[int]]:
    """A text with case and composed accents set aside, and which character each of it comes from.

    Both may change the length: ß folds to ss, é to e and a mark.
    """
    pairs = [
        (folded, i)
        for i, character in enumerate(text)
        for folded in unicodedata.normalize("NFD", character.casefold())
    ]
    return "".join(folded for folded, _ in pairs), [i for _, i in pairs]


def _is_mark(character: str) -> bool:
    """Whether it belongs to the character before it: an accent, or what joins letters unseen."""
    return character in UNSEEN or unicodedata.category(character.lower()[-1]).startswith("M")


def _says_nothing(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "PZM" or category in ("Cc", "Cf")
