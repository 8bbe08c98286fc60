"""Words and phrases are matched to sub-tokens exactly, by CLIP's own vocabulary."""

import unicodedata

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


NFC, NFD = (lambda text, form=form: unicodedata.normalize(form, text) for form in ("NFC", "NFD"))


@pytest.mark.parametrize("prompt", [NFC("a café, naïve"), NFD("a café, naïve")])
@pytest.mark.parametrize("phrase", [NFC("Café"), NFD("Café")])
def test_an_accent_is_part_of_its_word_composed_or_not(
    clip: CLIPTokenizer, prompt: str, phrase: str
) -> None:
    tokens = tokenize([clip], prompt)
    assert tokens.readable_words() == ["a", "café", "naïve"]
    assert pieces(tokens, phrase) == [["cafÃ©</w>"]]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("İstanbul cat", ["İstanbul", "cat"]),
        ("catİ dog", ["catİ", "dog"]),
        ("İİİİ cat dog", ["İİİİ", "cat", "dog"]),
        ("x\u0302y cat", ["x\u0302y", "cat"]),
        ("हिन्दी cat", ["हिन्दी", "cat"]),
        ("می\u200cخواهم cat", ["می\u200cخواهم", "cat"]),
        ("一只猫 dog", ["一只猫", "dog"]),
        ("👩\u200d🚀 flies ❤\ufe0f", ["👩\u200d🚀", "flies", "❤\ufe0f"]),
        ("1\ufe0f\u20e3 cat", ["1\ufe0f\u20e3", "cat"]),
        ("a\u200bcat\ufeff dog\u200d \u0301 !?", ["a", "cat", "dog"]),
        ("Straße ẞ ﬁsh", ["Straße", "ẞ", "ﬁsh"]),
        ("a\tcat\n\ndog  x", ["a", "cat", "dog", "x"]),
        ("12 cats, 747 ４２", ["12", "cats", "747", "４２"]),
        ("!!! ...", []),
    ],
)
def test_words_are_whole_where_letters_grow_or_carry_marks(
    clip: CLIPTokenizer, prompt: str, words: list[str]
) -> None:
    tokens = tokenize([clip], prompt)
    assert tokens.readable_words() == words
    for word, place in zip(words, tokens.readable(), strict=True):
        assert place in tokens.places(word)
        assert tokens.inside(*place)


@pytest.mark.parametrize(
    ("prompt", "phrase", "place"),
    [
        ("a woman and a man", "man", (14, 17)),
        ("pineapple and apple", "apple", (14, 19)),
        ("İİİİ cat dog", "dog", (9, 12)),
        ("Straße, grass", "STRASSE", (0, 6)),
        ("ﬁsh", "fish", (0, 3)),
        ("İstanbul", "i\u0307stanbul", (0, 8)),
        ("a  blue\n\tbackground", "blue background", (3, 19)),
        ("the woman's hat", "woman's hat", (4, 15)),
    ],
)
def test_a_place_is_counted_in_the_prompts_own_characters(
    clip: CLIPTokenizer, prompt: str, phrase: str, place: tuple[int, int]
) -> None:
    assert tokenize([clip], prompt).places(phrase) == [place]


@pytest.mark.parametrize(("prompt", "part"), [("a ß", "s"), ("ﬁsh", "ish"), ("İ", "i"), ("é", "e")])
def test_a_part_of_a_letter_is_not_found(clip: CLIPTokenizer, prompt: str, part: str) -> None:
    with pytest.raises(ValueError, match="is not in the prompt"):
        tokenize([clip], prompt).places(part)


def test_a_digit_of_a_number_is_not_found(clip: CLIPTokenizer) -> None:
    tokens = tokenize([clip], "a 7 and a 747")
    assert tokens.places("7") == [(2, 3)]
    with pytest.raises(ValueError, match="'4' is not in the prompt"):
        tokens.places("4")


def test_a_very_long_prompt_is_refused_at_once(clip: CLIPTokenizer) -> None:
    with pytest.raises(ValueError, match="The prompt has 100,001 characters, more than 100,000"):
        tokenize([clip], "a" * 100_001)


def test_a_word_that_stands_twice_has_two_places_in_order(clip: CLIPTokenizer) -> None:
    tokens = tokenize([clip], "a cat and a Cat")
    assert tokens.chosen(["Cat", "cat"]) == [(2, 5), (12, 15)]


@pytest.mark.parametrize("prompt", ["!!!", "", "—", "\u200b"])
def test_a_prompt_without_words_is_refused(clip: CLIPTokenizer, prompt: str) -> None:
    with pytest.raises(ValueError, match="has no words"):
        tokenize([clip], prompt).chosen()


def test_bytes_that_are_no_text_are_refused(clip: CLIPTokenizer) -> None:
    with pytest.raises(ValueError, match="no UTF-8"):
        tokenize([clip], b"a caf\xe9".decode("utf-8", "surrogateescape"))
