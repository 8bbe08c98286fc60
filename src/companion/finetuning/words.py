"""New words for a text encoder: rows of its embedding table that alone are trained.

Gal et al. 2022, "An Image is Worth One Word", section 4.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from companion.door import printable

from .tensors import write_tensors

EMBEDDINGS = "learned_embeds.safetensors"


class NewWords(nn.Module):
    """An embedding table with further rows behind its own, which stay as they are.

    Args:
        table: the text encoder's.
        rows: what the new words begin with, (new words, width).
    """

    def __init__(self, table: nn.Embedding, rows: Tensor) -> None:
        super().__init__()
        self.table = table.requires_grad_(False)
        self.rows = nn.Parameter(rows)

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, tokens) to (batch, tokens, width)."""
        known = self.table.num_embeddings
        own, new = self.table(ids.clamp(max=known - 1)), self.rows[(ids - known).clamp(min=0)]
        return torch.where((ids >= known)[..., None], new, own)


def token_names(token: str, vectors: int) -> list[str]:
    """How Diffusers calls the embeddings of one word: <fox>, <fox>_1, <fox>_2."""
    return [token, *(f"{token}_{number}" for number in range(1, vectors))]


def add_words(
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    token: str,
    *,
    vectors: int = 1,
    initial_word: str | None = None,
    seed: int = 0,
) -> NewWords:
    """Give a text encoder and its tokenizer a new word, and train nothing else of them.

    Chapter 8, "Textual inversion: a new word".

    Args:
        tokenizer: changed in place.
        text_encoder: changed in place; its embedding table is put into the one that is returned.
        token: the word, which the tokenizer may not know as one.
        vectors: how many embeddings the word has.
        initial_word: a word of one token, with whose embedding each begins; by default they are
            drawn, as large as the table's own.
        seed: of what is drawn.

    Raises:
        ValueError: the tokenizer has that word, or knows `initial_word` as several tokens.
    """
    table = text_encoder.get_input_embeddings()
    names = token_names(token, vectors)
    # Its words are small letters, and most are known as whole ones only.
    there = [
        name
        for name in names
        if {name, name.lower(), f"{name.lower()}</w>"} & tokenizer.get_vocab().keys()
    ]
    if there:
        raise ValueError(
            f"The tokenizer has the word {printable(there[0])} already: take another token, such "
            f"as <my-{printable(there[0].strip('<>'))}>."
        )
    if initial_word is not None:
        ids = tokenizer(initial_word, add_special_tokens=False).input_ids
        if len(ids) != 1:
            raise ValueError(
                f"initial_word is {printable(initial_word)!r}, which is {len(ids)} tokens to this "
                "tokenizer: take a word that is one."
            )
        rows = table.weight[ids[0]].detach().repeat(vectors, 1)
    else:
        lengths = table.weight.detach().norm(dim=1)
        used = table.weight.detach()[lengths > 0]  # words that the zoo's never saw are zero
        noise = torch.randn(
            vectors, table.embedding_dim, generator=torch.Generator().manual_seed(seed)
        )
        rows = noise.to(used) * used.std()
    tokenizer.add_tokens(names)
    ids = tokenizer.convert_tokens_to_ids(names)
    known = table.num_embeddings
    if ids != list(range(known, known + vectors)):
        raise ValueError(
            f"The tokenizer counts {ids[0]:,} words, but the text encoder has {known:,}: the two "
            "do not belong together."
        )
    words = NewWords(table, rows.clone())
    text_encoder.set_input_embeddings(words)
    return words


def unknown_words(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, texts: Iterable[str]
) -> tuple[str, ...]:
    """Words whose embeddings are all zero: to the zoo's Stable Diffusion, which met few words, all
    others are one word. Chapter 8, "Which word learned it".

    Args:
        tokenizer: the model's.
        text_encoder: the model's, with the embedding table of its own.
        texts: where to look.
    """
    table = text_encoder.get_input_embeddings()
    weights = (table.table if isinstance(table, NewWords) else table).weight.detach()
    found = []
    for word in dict.fromkeys(word.strip(",.") for text in texts for word in text.split()):
        ids = tokenizer(word, add_special_tokens=False).input_ids
        if ids and max(ids) < len(weights) and not weights[ids].any():
            found.append(word)
    return tuple(found)


def save_words(words: NewWords, token: str, folder: str | Path) -> None:
    """Write what `pipe.load_textual_inversion(folder / EMBEDDINGS)` reads."""
    write_tensors(Path(folder, EMBEDDINGS), {token: words.rows}, {})
