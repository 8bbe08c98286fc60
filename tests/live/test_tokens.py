"""The page's tokens are those of transformers' CLIPTokenizer."""

import random

import pytest
from node_runner import Node
from transformers import CLIPTokenizer

from companion.zoo import folder

# Each kind of character that prompts have, and each that only tests have.
ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789½²٣४Ⅷ①",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "äöüßéèçñåøæœÄÖÜÉÇÑŠžŁőİıĞşÞð",
    "e\u0301o\u0308A\u030an\u0303c\u0327q\u0323\u0307",
    "猫狗红色背景机器人和郁金香龍國",
    "ねこイヌがぎプﾊﾟ々ー・「」",
    "고양이개\u1100\u1161\u11a8",
    "עבריתשלום\u05b8قطةكلبلا\u064b\u0640",
    "кошкаСОБАКАёйΟΔΟΣςΣάΏ",
    "हिन्दीबिल्लीไทยแมวἀᾳǅǆﬁſK",
    "😀🤖🌷👩🏽‍🚀❤️👨‍👩‍👧🇨🇳🏳️‍🌈☀︎1️⃣",
    " \t\n\r\v\f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000",
    "\u200b\u200c\u200d\u2060\ufeff\xad\u200e\u200f\u202e\ufe0f\U000e0041",
    "\x00\x01\x07\x08\x1b\x1c\x1f\x7f\x80\x9f",
    "−–—…“”‘’«»×°€£¥©™∞√∂ε≠→𝐀𝒷ℵ\ufffd\uffff\ue000\U0010ffff",
]
FRAGMENTS = [
    *["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "it's", "they're", "''"],
    *["<|endoftext|>", "<|startoftext|>", "<|EndOfText|>", "<|", "|>", "<w>", "</w>", " ", "  "],
    *["robot", "tulip", "a robot and a tulip on an orange background", "e", "\u0301"],
]
BY_HAND = [
    *["", " ", "   \n\t", "a", "A robot and a tulip on an orange background", "a cat, a dog"],
    *["a" * 5000, "xq" * 1500, "猫" * 500, "😀" * 300, "a " * 200, "12345678901234567890"],
    *["don't they've we'll I'd 'tis", "a<|endoftext|>b", "!<|ENDOFTEXT|>!", "\ufeffcat"],
    *["e<|endoftext|>\u0301", "cat\x85dog", "ΟΔΟΣ", "İ", "\u0301", "a" + "\u0301" * 100],
]


def mixed(chance: random.Random) -> str:
    """A text of one kind of character, of some, or of all."""
    kinds = chance.sample(ALPHABETS, chance.choice([1, 2, 3, len(ALPHABETS)]))
    parts = []
    for _ in range(chance.randint(1, 12)):
        parts.append("".join(chance.choices(chance.choice(kinds), k=chance.randint(1, 8))))
        parts.append(chance.choice(FRAGMENTS) if chance.random() < 0.4 else "")
    return "".join(parts)


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(folder("stable-diffusion"), subfolder="tokenizer")


def test_tokens_are_those_of_transformers(node: Node, tokenizer: CLIPTokenizer) -> None:
    chance = random.Random(0)
    texts = BY_HAND + [mixed(chance) for _ in range(3000)]
    alone = tokenizer(texts, add_special_tokens=False).input_ids
    whole = tokenizer(texts, padding="max_length", truncation=True, max_length=77).input_ids
    node.write_json("cases", [list(case) for case in zip(texts, alone, whole, strict=True)])
    # Python's tokenizer takes no half of a pair of UTF-16; a page may hand one over.
    halves = ["\ud800", "a\udc00b", "cat \ud83d", "\ude00\ud83d dog", "\ud83dé\ude00"]
    replaced = [
        text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in halves
    ]
    ids = tokenizer(replaced, add_special_tokens=False).input_ids
    node.write_json("halves", [list(case) for case in zip(halves, ids, strict=True)])
    node.write_json("tokenizer", tokenizer.backend_tokenizer.to_str())
    node.run("tokens.test.js")
