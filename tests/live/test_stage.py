"""What stands on a stage beside the pictures: sentences, and what there is to say of a prompt."""

import itertools

from node_runner import Node
from transformers import CLIPTokenizer

from companion.scenes import backgrounds, caption, subset
from companion.scenes.captions import OPENINGS, RELATIONS
from companion.zoo import folder


def test_chips_write_the_captions_that_the_model_was_trained_on(node: Node) -> None:
    objects, colours = subset("stable-diffusion").objects, [None, *backgrounds()]
    alone = [((thing,), None) for thing in objects]
    pairs = [
        (pair, relation) for pair in itertools.permutations(objects, 2) for relation in RELATIONS
    ]
    scenes = [
        {
            "things": things,
            "relation": relation,
            "background": colour,
            "said": caption(things, relation, background=colour),
        }
        for (things, relation), colour in itertools.product(alone + pairs, colours)
    ]
    node.write_json("scenes", scenes)
    node.write_json("openings", OPENINGS)
    node.write_json(
        "model",
        {"objects": objects, "backgrounds": [*backgrounds()], "relations": RELATIONS},
    )
    node.run("captions.test.js")


def test_a_prompt_s_pieces_are_read_back_as_they_were_typed(node: Node) -> None:
    words = ["cat", "genshin", "café", "naïve", "猫", "👻", "🏳️", "привет", "½"]
    tokenizer = CLIPTokenizer.from_pretrained(folder("stable-diffusion"), subfolder="tokenizer")
    node.write_json("words", [[word, tokenizer.tokenize(word)] for word in words])
    node.run("prompt.test.js")
