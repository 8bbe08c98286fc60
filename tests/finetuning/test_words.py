"""New words: rows of the embedding table that alone are trained."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from companion.finetuning import add_words, save_words, unknown_words
from companion.finetuning.words import EMBEDDINGS, token_names


def states(pipe: StableDiffusionPipeline, prompt: str) -> torch.Tensor:
    """The text encoder's, as the pipeline asks for them."""
    with torch.no_grad():
        embeddings: torch.Tensor = pipe.encode_prompt(prompt, "cpu", 1, False)[0]
    return embeddings


def test_known_words_stay_and_the_new_one_alone_is_trained(pipe: StableDiffusionPipeline) -> None:
    before = states(pipe, "a cat on a red background")
    words = add_words(pipe.tokenizer, pipe.text_encoder.requires_grad_(False), "<fox>")
    assert torch.equal(states(pipe, "a cat on a red background"), before)
    trained = [name for name, w in pipe.text_encoder.named_parameters() if w.requires_grad]
    assert [name.rpartition(".")[2] for name in trained] == ["rows"]
    ids = pipe.tokenizer("a <fox>", return_tensors="pt").input_ids
    assert ids.tolist() == [[49406, 320, 49408, 49407]]
    direction = torch.randn(16, generator=torch.Generator().manual_seed(0))
    (pipe.text_encoder(ids).last_hidden_state @ direction).sum().backward()
    assert words.rows.grad is not None
    assert words.rows.grad.abs().max() > 0


def test_it_begins_as_the_word_that_was_named_or_as_large_as_others(
    pipe: StableDiffusionPipeline, small_model: Path
) -> None:
    table = pipe.text_encoder.get_input_embeddings().weight.detach().clone()
    cat = pipe.tokenizer("cat", add_special_tokens=False).input_ids[0]
    words = add_words(pipe.tokenizer, pipe.text_encoder, "<fox>", vectors=2, initial_word="cat")
    assert torch.equal(words.rows, table[[cat, cat]])
    other = StableDiffusionPipeline.from_pretrained(small_model)
    drawn = add_words(other.tokenizer, other.text_encoder, "<fox>", vectors=50)
    assert float(drawn.rows.std()) == pytest.approx(float(table.std()), rel=0.2)


@pytest.mark.parametrize("vectors", [1, 3])
def test_stock_diffusers_reads_the_word(
    vectors: int, pipe: StableDiffusionPipeline, small_model: Path, tmp_path: Path
) -> None:
    words = add_words(pipe.tokenizer, pipe.text_encoder, "<fox>", vectors=vectors, seed=1)
    save_words(words, "<fox>", tmp_path)
    stock = StableDiffusionPipeline.from_pretrained(small_model)
    stock.load_textual_inversion(tmp_path / EMBEDDINGS)
    prompt = "a <fox> on a red background"
    assert stock.tokenizer.convert_tokens_to_ids(token_names("<fox>", vectors))[0] == 49408
    torch.testing.assert_close(states(stock, prompt), states(pipe, prompt))


def test_a_word_that_is_there_or_several_tokens_is_refused(pipe: StableDiffusionPipeline) -> None:
    with pytest.raises(ValueError, match=r"has the word cat</w> already|has the word cat already"):
        add_words(pipe.tokenizer, pipe.text_encoder, "cat</w>")
    with pytest.raises(ValueError, match="initial_word is 'watermelons', which is 3 tokens"):
        add_words(pipe.tokenizer, pipe.text_encoder, "<fox>", initial_word="watermelons")
    for word in ("background", "Cat"):  # as a whole word, and in small letters
        with pytest.raises(ValueError, match=f"has the word {word} already"):
            add_words(pipe.tokenizer, pipe.text_encoder, word)
    add_words(pipe.tokenizer, pipe.text_encoder, "<fox>")
    with pytest.raises(ValueError, match=r"has the word <fox> already: .*<my-fox>"):
        add_words(pipe.tokenizer, pipe.text_encoder, "<fox>")


def test_words_of_zeros_are_known_as_unknown(pipe: StableDiffusionPipeline) -> None:
    table = pipe.text_encoder.get_input_embeddings().weight
    with torch.no_grad():
        table[pipe.tokenizer("fox", add_special_tokens=False).input_ids] = 0
    texts = ("a fox, on a red background", "a fox")
    assert unknown_words(pipe.tokenizer, pipe.text_encoder, texts) == ("fox",)
    add_words(pipe.tokenizer, pipe.text_encoder, "<fox>")
    assert unknown_words(pipe.tokenizer, pipe.text_encoder, [*texts, "a <fox>"]) == ("fox",)
