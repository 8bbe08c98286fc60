"""The built pages as a reader's browser has them: Chromium opens each in every way that it is read,
and notes what there is to see.

Chromium is Debian's (`apt install chromium`) or another that is installed; `CHROMIUM` names one.
Playwright drives it and downloads none.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from make_pdf import CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@dataclass(frozen=True)
class View:
    """One way to read a page."""

    name: str
    width: int
    height: int


SCREEN = View("screen", 1280, 900)
PHONE = View("phone", 390, 844)

# axe's rules: those that it has on by default, and younger ones, which are not less true.
ALL_RULES = {
    "rules": {
        rule: {"enabled": True}
        for rule in ("label-content-name-mismatch", "p-as-heading", "table-fake-caption")
    }
}
# Those that may answer differently when the same page has other colours.
RULES_OF_COLOUR = {"runOnly": ["color-contrast", "link-in-text-block"]}


@dataclass
class Seen:
    """What a page showed in one view."""

    page: str
    view: View
    width: int  # of all that the page has, beyond the screen too
    clipped: list[str]  # first words of code and of what was printed, with a line cut off
    wrapped: list[str]  # lines of code or of what was printed that go on in the next
    broken: list[str]  # words of tables that do
    console: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)  # addresses of other hosts it asked for
    violations: list[str] = field(default_factory=list)  # axe's

    def __str__(self) -> str:
        return f"{self.page} ({self.view.name})"


def chromium() -> str | None:
    """Where the browser is, if there is one."""
    wanted = os.environ.get("CHROMIUM")
    return shutil.which(wanted) if wanted else next(filter(None, map(shutil.which, CHROMIUM)), None)


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and tells nobody."""

    def log_message(self, *args: object) -> None:
        """Nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder's address on this machine, as on GitHub Pages."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def launched(program: str) -> Iterator["Browser"]:
    """The browser, running. Its sandbox needs rights that containers and root do not have; it opens
    nothing but our own pages."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=False)
        yield browser
        browser.close()


# Folds are opened first: what is in them is read too.
MEASURE = r"""() => {
  document.querySelectorAll("details").forEach(fold => fold.open = true);
  const blocks = [...document.querySelectorAll("pre")];
  const tooWide = block => block.scrollWidth > block.clientWidth + 1;
  const start = block => block.textContent.trim().slice(0, 60);
  const clipped = blocks.filter(tooWide).map(start);

  const broken = [];
  for (const cell of document.querySelectorAll("td, th")) {
    const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    for (let text; text = texts.nextNode();)
      for (const word of text.data.matchAll(/[\p{L}\p{N}]+/gu)) {
        const range = document.createRange();
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        const lines = new Set([...range.getClientRects()].map(part => Math.round(part.top)));
        if (lines.size > 1) broken.push(word[0]);
      }
  }

  const width = document.documentElement.scrollWidth;
  blocks.forEach(block => block.style.whiteSpace = "pre");
  const longest = block => block.textContent.split("\n").sort((a, b) => b.length - a.length)[0];
  const wrapped = blocks.filter(tooWide).map(longest);
  blocks.forEach(block => block.style.whiteSpace = "");
  return {width, clipped, wrapped, broken};
}"""

# Most of axe's time goes into the colours of code and formulas, word for word. One of each kind
# is enough.
THIN = r"""() => {
  const kinds = new Set(), again = [];
  for (const word of document.querySelectorAll(":is(pre, .math) span:not(:has(*))")) {
    const block = word.closest(".cell_input, .output, pre, .math");
    const kind = [block.className, word.parentElement.className, word.className].join();
    if (kinds.has(kind)) again.push(word);
    kinds.add(kind);
  }
  for (const word of again) word.replaceWith(word.textContent);
}"""

# Colours that change slowly are of no use to axe until they are there. On a page that was resized
# meanwhile Chromium now and then never says that they are: after 3 seconds they must be.
SETTLED = """Promise.race([
  Promise.allSettled(document.getAnimations().map(change => change.finished)),
  new Promise(done => setTimeout(done, 3000)),
]).then(() => null)"""

# Started in both views before the first is waited for: Chromium has a process for each.
START_AXE = """options => {
  window.checked = axe.run(document, {resultTypes: ["violations"], ...options});
  return null;
}"""
AXE_SAYS = """async () => (await checked).violations.flatMap(({id, help, nodes}) =>
  nodes.map(({target, html, any}) =>
    `${id}: ${help}: ${target.join(" ")}: ${html.slice(0, 200)} ${any[0]?.message ?? ""}`))"""


def axe() -> str:
    """axe-core's text, which a package of PyPI carries."""
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def opened(tab: "Page", address: str, page: str, view: View) -> Seen:
    """Open a page and look at it."""
    console: list[str] = []
    elsewhere: list[str] = []
    site = address.rstrip("/")

    def asked(url: str) -> None:
        if not url.startswith((site, "data:", "blob:")):
            elsewhere.append(url)

    tab.on("console", lambda message: console.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: console.append(f"error: {error}"))
    tab.on("request", lambda request: asked(request.url))
    tab.goto(address + page, wait_until="load")
    return Seen(page, view, console=console, elsewhere=elsewhere, **tab.evaluate(MEASURE))


def look_at_all(browser: "Browser", address: str, pages: list[str]) -> list[Seen]:
    """Open every page on a screen and on a phone; on the screen it gets dark in between."""
    checker = axe()
    views = (SCREEN, PHONE)
    contexts = [
        browser.new_context(
            viewport={"width": view.width, "height": view.height}, color_scheme="light"
        )
        for view in views
    ]
    found = []
    for page in pages:
        tabs = []
        for view, context in zip(views, contexts, strict=True):
            tab = context.new_page()
            seen = opened(tab, address, page, view)
            tab.evaluate(SETTLED)
            tab.evaluate(THIN)
            tab.evaluate(checker)
            tab.evaluate(START_AXE, ALL_RULES)
            tabs.append((tab, seen))
        (screen, on_screen), (phone, on_phone) = tabs
        on_screen.violations = screen.evaluate(AXE_SAYS)
        screen.emulate_media(color_scheme="dark")
        screen.wait_for_function("document.documentElement.dataset.theme === 'dark'")
        screen.evaluate(SETTLED)
        screen.evaluate(START_AXE, RULES_OF_COLOUR)
        on_phone.violations = phone.evaluate(AXE_SAYS)
        on_screen.violations += [f"in the dark: {what}" for what in screen.evaluate(AXE_SAYS)]
        found += [on_screen, on_phone]
        for tab, _ in tabs:
            tab.close()
    return found
