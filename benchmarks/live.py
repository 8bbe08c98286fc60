"""What it costs to draw in the page: bytes, loading, a guided UNet call beside torch's, memory.

    python benchmarks/live.py      the built pages in headless Chromium; `make book` comes first

Chromium is Debian's or another that is installed; CHROMIUM names one. A page is served from this
machine, and opened in a browser that has nothing of it yet. A guided call is what 50 steps take
longer than 10, by 40; torch does as many beside it in float32 on one thread, in turns.
"""

import argparse
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from lib.results import RESULTS, Recorder
from lib.side_by_side import show, times

from companion.stable_diffusion import encode_prompt, load_parts
from companion.zoo import folder

SITE = Path(__file__).parents[1] / "_build" / "html"
LIVE = SITE / "_static" / "live"
PAGE = "book/intro.html"
PROMPT = "a robot on an orange background"
STEPS = 15  # of the first picture
CALLS = (10, 50)
ROUNDS = 7
MIB = 2**20
PAGE_OF_WASM = 65536

# How much memory the engine says that it has, once it is loaded.
NOTE_BYTES = """
  const Plain = Worker;
  window.Worker = class extends Plain {
    constructor(...all) {
      super(...all);
      this.addEventListener("message", ({data}) => { window.bytes ??= data.done?.bytes; });
    }
  };
"""
NOTE_GROWTH = """() => {
  self.grown = 0;
  const grow = WebAssembly.Memory.prototype.grow;
  WebAssembly.Memory.prototype.grow = function (pages) {
    self.grown += pages;
    return grow.call(this, pages);
  };
}"""
# The button's own way; then the stage draws by itself, step by step before the reader's eyes.
LOAD_AND_DRAW = """async steps => {
  const figure = document.querySelector('.companion-stage[data-stage="draw"]');
  figure.dataset.steps = steps;
  const pressed = performance.now();
  await Live.open(figure, () => {});
  const loaded = performance.now();
  const button = figure.querySelector(".live-draw");
  while (button.classList.contains("running")) await new Promise(requestAnimationFrame);
  return [loaded - pressed, performance.now() - loaded];
}"""
DRAW = """async ([prompt, steps]) => {
  const engine = await Live.ready();
  const settings = {prompt, negativePrompt: "", seed: 0, steps, guidance: 4, sampler: "unipc",
    start: null, watch: false, heatMaps: false};
  return (await engine.draw(settings, () => {}).result).milliseconds;
}"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves the site and tells nobody."""

    def log_message(self, *args: object) -> None:
        """Nothing."""


@contextmanager
def served() -> Iterator[str]:
    """The site's address on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def chromium(program: str) -> Iterator[Any]:
    """The browser, running."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=False)
        yield browser
        browser.close()


@contextmanager
def fresh_page(browser: Any, address: str) -> Iterator[Any]:
    """The page in a browser that has nothing of it; what is offered is there, nothing is loaded."""
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(NOTE_BYTES)
    page.goto(address + PAGE)
    page.locator(".live-open").first.wait_for()
    yield page
    context.close()


def torch_calls(count: int = CALLS[1] - CALLS[0]) -> Iterator[float]:
    """Seconds of a guided call, again and again: both halves in one batch."""
    parts = load_parts(folder("stable-diffusion"))
    side = parts.unet.config.sample_size
    latents = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embeddings = torch.cat([encode_prompt(parts, text) for text in ("", PROMPT)])
        while True:
            began = time.perf_counter()
            for _ in range(count):
                parts.unet(torch.cat([latents] * 2), 500, encoder_hidden_states=embeddings)
            yield (time.perf_counter() - began) / count


def page_call(page: Any) -> float:
    """Seconds of a guided call in the page."""
    few, many = (page.evaluate(DRAW, [PROMPT, steps]) for steps in CALLS)
    return (many - few) / (CALLS[1] - CALLS[0]) / 1000


def weigh(recorder: Recorder) -> None:
    """What lies on the site, and what of it a page loads that nobody draws on."""
    before = [LIVE / "live.js", LIVE / "live.css", LIVE / "pieces" / "manifest.js"]
    pieces = [
        path for path in (LIVE / "pieces").glob("*.js") if not path.name.startswith("flow-")
    ]  # those of another chapter
    figures = {
        "before_kb": sum(path.stat().st_size for path in before) / 1e3,
        "scripts_kb": sum(path.stat().st_size for path in LIVE.glob("*.js")) / 1e3,
        "model_mb": sum(path.stat().st_size for path in pieces) / 1e6,
        "kernels_kb": (LIVE / "engine" / "kernels.wasm").stat().st_size / 1e3,
        "largest_file_mb": max(path.stat().st_size for path in pieces) / 1e6,
    }
    recorder.note("bytes", **figures)
    print(", ".join(f"{name}: {figure:.2f}" for name, figure in figures.items()))


def load_and_draw(recorder: Recorder, browser: Any, address: str, rounds: int) -> None:
    """Loading, and the first picture after it; each round in a browser that has nothing yet."""
    found = []
    for _ in range(rounds):
        with fresh_page(browser, address) as page:
            found.append([ms / 1000 for ms in page.evaluate(LOAD_AND_DRAW, STEPS)])
    loading, drawing = (times(one) for one in zip(*found, strict=True))
    show({"load": loading, f"first picture, {STEPS} steps": drawing})
    recorder.note("load", seconds=loading)
    recorder.note("first picture", seconds=drawing)


def calls(recorder: Recorder, browser: Any, address: str, rounds: int) -> None:
    """A guided call in torch and in the page, in turns; and the memory that drawing takes."""
    theirs = torch_calls()
    with fresh_page(browser, address) as page:
        page.evaluate(LOAD_AND_DRAW, 1)
        page.workers[0].evaluate(NOTE_GROWTH)
        page_call(page), next(theirs)  # what is slow the first time
        found = [(next(theirs), page_call(page)) for _ in range(rounds)]
        grown = PAGE_OF_WASM * page.workers[0].evaluate("self.grown")
        memory = {"engine_mib": (page.evaluate("bytes") + grown) / MIB, "page_heap_mib": heap(page)}
    in_torch, in_page = (times(one) for one in zip(*found, strict=True))
    show({"torch": in_torch, "page": in_page})
    recorder.note("guided call, torch", seconds=in_torch)
    recorder.note("guided call, page", seconds=in_page)
    recorder.note("memory", **memory)
    print(", ".join(f"{name}: {figure:.1f}" for name, figure in memory.items()))


def heap(page: Any) -> float:
    """MiB of the page's own scripts, beside the worker."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    found = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return found["JSHeapUsedSize"] / MIB


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", choices=("full", "small"), default="full", help="small: a trial")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder; default: %(default)s"
    )
    options = parser.parse_args(arguments)
    if not (SITE / PAGE).is_file():
        print("There are no pages to draw in, so nothing is measured: run `make book` first.")
        return
    program = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if not program:
        print("There is no Chromium here, so nothing is measured: apt install chromium.")
        return
    rounds = ROUNDS if options.size == "full" else 1
    torch.set_num_threads(1)
    with chromium(program) as browser, served() as address:
        recorder = Recorder(
            "live",
            on_gpu=False,
            precision="float32",
            settings={
                "browser": f"Chromium {browser.version}",
                "threads": 1,
                "clock": "wall",
                "rounds": rounds,
            },
            size=options.size,
            folder=options.results,
        )
        weigh(recorder)
        load_and_draw(recorder, browser, address, rounds)
        calls(recorder, browser, address, rounds)
        recorder.finish()


if __name__ == "__main__":
    main()
