"""Make the tokenizer of the zoo's Stable Diffusion from CLIP's byte-pair merges.

The merges are inside the package open-clip-torch (MIT):

    pip download --no-deps open-clip-torch==3.3.0
    unzip -j open_clip_torch-3.3.0-*.whl open_clip/bpe_simple_vocab_16e6.txt.gz
    python tools/make_tokenizer.py bpe_simple_vocab_16e6.txt.gz
    src/companion/zoo/weights/stable-diffusion/tokenizer

The ids are those of openai/clip-vit-large-patch14, which Stable Diffusion 1.x uses.
"""

import argparse
import gzip
from pathlib import Path

from transformers import CLIPTokenizer

MERGES = 49152 - 256 - 2  # the part of the file that CLIP uses


def byte_symbols() -> list[str]:
    """The 256 printable symbols that stand for the bytes, in CLIP's order: printable bytes
    first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(len(others))]


def main() -> None:
    """Read the arguments and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("merges", type=Path, help="bpe_simple_vocab_16e6.txt.gz")
    parser.add_argument("folder", type=Path, help="where the tokenizer is written")
    arguments = parser.parse_args()
    text = gzip.decompress(arguments.merges.read_bytes()).decode()
    lines = text.split("\n")[1 : MERGES + 1]
    merges = [tuple(line.split()) for line in lines]
    symbols = byte_symbols()
    words = [
        *symbols,
        *(symbol + "</w>" for symbol in symbols),
        *("".join(pair) for pair in merges),
    ]
    vocabulary = {
        word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])
    }
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
    tokenizer.save_pretrained(arguments.folder)
    print(tokenizer("a photo of a cat")["input_ids"])


if __name__ == "__main__":
    main()
