"""The page asks, the worker answers."""

from live_stage import SCRIPTS
from node_runner import Node

from companion.zoo import folder
from companion.zoo.export import export


def test_the_worker_answers(node: Node) -> None:
    export(folder("stable-diffusion"), node.folder)
    export(folder("flow"), node.folder / "flow")
    node.write_json("scripts", SCRIPTS)
    node.run("worker.test.js")
