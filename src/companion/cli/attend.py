"""`companion attend`: draw a picture and show which word made which pixels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .device import check_working_folder
from .quiet import quiet_libraries

if TYPE_CHECKING:
    import argparse

LONGEST_NAME = 120  # bytes of the prompt in the folder's name


def add(commands: Any) -> None:
    """Add the command to the parser."""
    attend = commands.add_parser(
        "attend", help="draw a picture and show which word made which pixels"
    )
    attend.add_argument("prompt", metavar="PROMPT", help='such as "a cat on a blue background"')
    attend.add_argument(
        "--words",
        metavar="WORDS",
        help="words or phrases of the prompt, with commas between (default: all words)",
    )
    attend.add_argument("--seed", type=int, default=0, help="of the noise (default: %(default)s)")
    attend.add_argument(
        "--model",
        help="a model of the zoo, a folder, or an id on the hub (default: chapter 3's Stable "
        "Diffusion)",
    )
    attend.add_argument("--steps", type=int, help="default: chapter 3's number")
    attend.add_argument(
        "--out", type=Path, help="a new folder for the results (default: named after the prompt)"
    )
    attend.set_defaults(run=_attend)


def _attend(arguments: argparse.Namespace) -> None:
    from companion.attention.results import put, unfinished
    from companion.door import printable
    from companion.door.labels import Origin, save_labelled
    from companion.door.prompts import check_text

    check_working_folder()
    prompt = arguments.prompt.strip()
    if not prompt:
        raise ValueError("The prompt is empty: say what to draw.")
    check_text("The prompt", prompt)
    if arguments.steps is not None and arguments.steps < 1:
        raise ValueError(f"--steps is {arguments.steps}, but at least 1 is needed.")
    if not 0 <= arguments.seed < 2**63:
        raise ValueError(
            f"--seed is {arguments.seed}, but it is a whole number from 0 to 2^63 - 1."
        )
    if arguments.model is not None and not arguments.model.strip():
        raise ValueError("--model is empty: name a model, or leave it out.")
    phrases = None
    if arguments.words is not None:
        phrases = [word.strip() for word in arguments.words.split(",") if word.strip()]
        if not phrases:
            raise ValueError("--words names no word: write them with commas between.")
    folder = arguments.out or Path(f"{_slug(prompt)}-{arguments.seed}")
    with unfinished(folder) as hidden:
        quiet_libraries()  # before the pipelines are imported, which warn at once
        from companion.attention.drawing import draw

        picture, page = draw(prompt, phrases, arguments.model, arguments.steps, arguments.seed)
        save_labelled(picture, hidden / "picture.png")
        save_labelled(page.sheet(), hidden / "words.png")
        (hidden / "index.html").write_text(page.page(Origin.DRAWN), encoding="utf-8")
        folder = put(hidden, folder)
    print(printable(f"{', '.join(page.words)}: open {folder / 'index.html'} in a browser."))


def _slug(prompt: str) -> str:
    words = re.sub(r"\W+", "-", prompt.lower()).strip("-")[:60]
    return words.encode()[:LONGEST_NAME].decode(errors="ignore").rstrip("-") or "picture"
