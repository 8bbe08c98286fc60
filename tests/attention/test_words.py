"""Words and phrases are matched to sub-tokens exactly, by CLIP's own vocabulary."""

import pytest
from transformers import CLIPTokenizer

from companion.attention.words import PromptTokens, tokenize
from companion.zoo import folder


@pytest.fixture(scope="module")
def clip() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(folder("stable-diffusion") / "tokenizer")


def pieces(tokens: PromptTokens, phrase: str) -> list[list[str]]:
    return [[tokens.tokens[i].piece for i in place] for place in tokens.find(phrase)]


@pytest.mark.parametrize(
    ("prompt", "phrase", "found"),
    [
        ("a cat on a mat", "cat", [["cat</w>"]]),
        ("a cat on a mat", "a", [["a</w>"], ["a</w>"]]),
        ("A Cat on a mat", "cat", [["cat</w>"]]),
        ("a red, blue ball", "red", [["red</w>"]]),
        ("a red, blue ball", "red, blue", [["red</w>", ",</w>", "blue</w>"]]),
        ("a  blue\nbackground", "blue background", [["blue</w>", "background</w>"]]),
        ("a naïve robot", "naïve", [["na", "Ã¯", "ve</w>"]]),
        ("a cat's moon", "cat's", [["cat</w>", "'s</w>"]]),
        ("a 🚀", "🚀", [["ðŁļĢ</w>"]]),
        ("cat cat cat", "cat cat", [["cat</w>", "cat</w>"]] * 2),
    ],
)
def test_a_phrase_is_found_whole(
    clip: CLIPTokenizer, prompt: str, phrase: str, found: list[list[str]]
) -> None:
    assert pieces(tokenize([clip], prompt), phrase) == found


@pytest.mark.parametrize("part", ["ve", "na", "nai", "at", "", " "])
def test_a_part_of_a_word_is_not_found(clip: CLIPTokenizer, part: str) -> None:
    with pytest.raises(ValueError, match="not in the prompt; its words are: a, naïve, cat"):
        tokenize([clip], "a naïve, cat").find(part)


def test_a_long_word_is_not_found_in_its_first_half(clip: CLIPTokenizer) -> None:
    tokens = tokenize([clip], "a catdog")
    assert [token.piece for token in tokens.tokens[2:-1]] == ["cat", "dog</w>"]
    with pytest.raises(ValueError, match="is not in the prompt"):
        tokens.find("cat")


def test_tokens_are_the_start_the_prompts_and_one_end(clip: CLIPTokenizer) -> None:
    tokens = tokenize([clip], "a cat")
    assert [token.piece for token in tokens.tokens] == [
        "<|startoftext|>",
        "a</w>",
        "cat</w>",
        "<|endoftext|>",
    ]
    assert [token.position for token in tokens.tokens] == [0, 1, 2, 3]
    assert tokens.is_word() == [False, True, True, False]


def test_a_word_past_the_cut_is_named_with_those_that_fit(clip: CLIPTokenizer) -> None:
    tokens = tokenize([clip], "moon " + "star " * 74 + "cat")
    assert len(tokens.tokens) == 77
    with pytest.raises(ValueError, match="'cat' was cut off, as the text encoder takes 77 tokens"):
        tokens.find("cat")
    with pytest.raises(ValueError, match=r"that fit are: moon, star\."):
        tokens.find("cat")
    assert len(tokens.find("star")) == 74


def test_a_word_that_the_cut_goes_through_does_not_fit(clip: CLIPTokenizer) -> None:
    tokens = tokenize([clip], "star " * 74 + "naïve")
    assert len(tokens.tokens) == 77
    with pytest.raises(ValueError, match="'naïve' was cut off"):
        tokens.find("naïve")


def test_the_readable_words_leave_out_punctuation(clip: CLIPTokenizer) -> None:
    tokens = tokenize([clip], "A cat, a cat - and «stars»!")
    assert tokens.readable_words() == ["A", "cat", "a", "cat", "and", "stars"]


def test_an_empty_prompt_has_no_words(clip: CLIPTokenizer) -> None:
    with pytest.raises(ValueError, match="its words are: none"):
        tokenize([clip], "").find("cat")


def test_a_second_encoders_tokens_stand_behind_the_firsts(clip: CLIPTokenizer) -> None:
    tokens = tokenize([clip, clip], "a cat", limits=[77, 16])
    assert [tokens.tokens[i].position for i in tokens.find("cat")[0]] == [2, 79]


def test_a_word_fits_if_it_fits_one_of_two_encoders(clip: CLIPTokenizer) -> None:
    tokens = tokenize([clip, clip], "a cat on a mat", limits=[4, 16])
    assert [tokens.tokens[i].position for i in tokens.find("mat")[0]] == [9]
