"""The places in the pages where a reader draws, as tests press, type and look there.

Pages come over http from a server that lets them be kept as GitHub Pages does, or from the folder.
"""

import base64
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from browser import Quiet
from flow_pictures import FlowWish
from pictures import Wish

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

PIECES = "/_static/live/pieces/"


class Kept(Quiet):
    """Says how long a file may be kept, and does not send again what the browser has."""

    protocol_version = "HTTP/1.1"  # of an older one no browser believes the tags
    server: "Server"

    def send_head(self) -> Any:
        """Answer with the head, and give the file to send behind it."""
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.server.sent.append((urlsplit(self.path).path, 404))
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        content = path.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        known = self.headers.get("If-None-Match") == tag
        status = HTTPStatus.NOT_MODIFIED if known else HTTPStatus.OK
        self.server.sent.append((urlsplit(self.path).path, status))
        self.send_response(status)
        self.send_header("Cache-Control", f"max-age={self.server.max_age}")
        self.send_header("ETag", tag)
        self.send_header("Last-Modified", formatdate(path.stat().st_mtime, usegmt=True))
        if not known:
            self.send_header("Content-Type", self.guess_type(str(path)))
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return None if known else BytesIO(content)


class Server(ThreadingHTTPServer):
    """A site as GitHub Pages serves it, with a list of what it sent."""

    def __init__(self, folder: Path, max_age: int = 600) -> None:
        super().__init__(("127.0.0.1", 0), partial(Kept, directory=str(folder)))
        self.max_age = max_age
        self.sent: list[tuple[str, int]] = []  # paths and statuses

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


@contextmanager
def as_on_github(folder: Path, max_age: int = 600) -> Iterator[Server]:
    with Server(folder, max_age) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def copied(site: Path, to: Path) -> Path:
    """A copy of the site in which a file can be spoilt: links, so it takes no room."""
    shutil.copytree(site, to, copy_function=os.symlink)
    return to


# From the first moment on: how far the loading was said to be, and all that was said aloud.
LISTEN = """
  window.progress = []; window.said = [];
  new MutationObserver(changes => {
    for (const {target, addedNodes} of changes) {
      for (const node of [target, ...addedNodes]) {
        if (node.nodeName === "PROGRESS") progress.push(node.value);
        const element = node.closest ? node : node.parentElement;
        const region = element?.closest("[role=status]");
        const words = region?.textContent;
        if (words && said.at(-1) !== words) said.push(words);
      }
    }
  }).observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
"""

# The engine's own picture; as text, for numbers take long to come over.
DRAW = """async settings => {
  const engine = await Live.ready();
  const {start} = settings;
  if (start) {
    start.pixels = Uint8ClampedArray.from(start.pixels);
    start.mask &&= Uint8Array.from(start.mask);
  }
  const {picture, milliseconds} = await engine.draw(settings, () => {}).result;
  return {data: btoa(String.fromCharCode(...picture.data)), milliseconds};
}"""

PIXELS = """canvas => {
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return btoa(String.fromCharCode(...data));
}"""

# What of the stages lies beside the screen, but for what can be pushed into it.
BESIDE = """() => [...document.querySelectorAll(".companion-stage, .companion-stage *")]
  .filter(one => !one.closest(".live-hidden"))
  .filter(one => !one.parentElement.closest(".live-chips-row, svg, select"))
  .filter(one => {
    const {left, right, width} = one.getBoundingClientRect();
    return width && (left < -0.5 || right > document.documentElement.clientWidth + 0.5);
  }).map(one => one.outerHTML.slice(0, 120))"""


def picture_of(data: str) -> np.ndarray:
    """Red, green and blue of a square of pixels that came as base64."""
    pixels = np.frombuffer(base64.b64decode(data), dtype=np.uint8)
    side = round((pixels.size / 4) ** 0.5)
    assert (pixels.reshape(side, side, 4)[..., 3] == 255).all()
    return pixels.reshape(side, side, 4)[..., :3]


@dataclass
class Place:
    """A stage of a page, before it is opened and after."""

    figure: "Locator"

    @property
    def button(self) -> "Locator":
        """Loads the model."""
        return self.figure.locator(".live-open")

    @property
    def note(self) -> "Locator":
        """What stands below the stored figure."""
        return self.figure.locator(":scope > .stage-note, :scope > .live-status")

    @property
    def stage(self) -> "Locator":
        return self.figure.locator(".live-stage")

    @property
    def line(self) -> "Locator":
        return self.stage.get_by_label("Prompt", exact=True)

    @property
    def draw_button(self) -> "Locator":
        return self.stage.locator(".live-draw")

    @property
    def status(self) -> str:
        return self.stage.locator(".live-status").inner_text()

    @property
    def remark(self) -> "Locator":
        return self.stage.locator(".live-remark")

    @property
    def steps_taken(self) -> "Locator":
        return self.stage.get_by_label("Steps taken")

    def load(self, steps: int | None = None) -> None:
        """Press the button, and wait for the stage. It draws in so many steps, or its figure's."""
        if steps:
            self.figure.evaluate("(figure, steps) => { figure.dataset.steps = steps; }", steps)
        self.button.click()
        self.stage.wait_for()

    def wait(self) -> None:
        """Until nothing is drawn any more."""
        self.stage.locator(".live-draw:not(.running)").wait_for()

    def number(self, name: str) -> float:
        """What a slider or a field is set to."""
        return float(self.stage.get_by_label(name, exact=True).input_value())

    def set(self, **settings: str | float) -> None:
        for name, value in settings.items():
            self.stage.get_by_label(name, exact=True).fill(str(value))

    def draw(self, **settings: str | float) -> str:
        """Set what is to be set, draw, and give what is said in the end."""
        self.set(**settings)
        self.draw_button.click()
        self.wait()
        return self.status

    def canvas(self, name: str = "Picture") -> "Locator":
        return self.stage.locator(f'canvas[aria-label^="{name}"]')

    def picture(self, name: str = "Picture") -> np.ndarray:
        """What a canvas shows."""
        return picture_of(self.canvas(name).evaluate(PIXELS))


@dataclass
class Tab:
    """A page that is open, with what its console holds and what it asked for."""

    page: "Page"
    console: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    asked_before: list[str] = field(default_factory=list)  # the button was pressed
    offered: str = ""  # by the button

    def places(self) -> list[Place]:
        return [Place(one) for one in self.page.locator(".companion-stage").all()]

    def place(self, kind: str) -> Place:
        return Place(self.page.locator(f'.companion-stage[data-stage="{kind}"]'))

    def pieces(self) -> list[str]:
        """What of the model it asked for; the manifest is none of it."""
        names = [urlsplit(url).path.rpartition(PIECES)[2] for url in self.asked if PIECES in url]
        return [name for name in names if name != "manifest.js"]

    def engines_picture(self, wish: Wish | FlowWish) -> np.ndarray:
        """What the engine of the page draws, once the stage is open."""
        return picture_of(self.page.evaluate(DRAW, wish.settings())["data"])


def open_tab(context: "BrowserContext", address: str, before: str = "") -> Tab:
    """Open a page; a script may run in it before its own."""
    tab = Tab(context.new_page())
    tab.page.on("console", lambda message: tab.console.append(f"{message.type}: {message.text}"))
    tab.page.on("pageerror", lambda error: tab.console.append(f"error: {error}"))
    tab.page.on("request", lambda request: tab.asked.append(request.url))
    tab.page.add_init_script(LISTEN + before)
    tab.page.goto(address, wait_until="load")
    return tab


@contextmanager
def opened(browser: "Browser", address: str, *, before: str = "", **options: Any) -> Iterator[Tab]:
    """A page alone, in a browser that has nothing of it yet."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    yield open_tab(context, address, before)
    context.close()
