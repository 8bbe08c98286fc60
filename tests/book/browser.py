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
from typing import TYPE_CHECKING, Any

from make_pdf import CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@dataclass(frozen=True)
class View:
    """One way to read a page."""

    name: str
    width: int
    height: int
    scheme: str  # what the reader's system wants: light or dark
    rules: dict[str, Any] = field(default_factory=dict, hash=False)  # of axe: all, but for its own


# axe leaves these out by default: they are younger, not less true.
ALL_RULES = {
    "rules": {
        rule: {"enabled": True}
        for rule in ("label-content-name-mismatch", "p-as-heading", "table-fake-caption")
    }
}
LIGHT = View("light", 1280, 900, "light", ALL_RULES)
# The same page in other colours.
DARK = View("dark", 1280, 900, "dark", {"runOnly": ["color-contrast", "link-in-text-block"]})
PHONE = View("phone", 390, 844, "light", ALL_RULES)
VIEWS = (LIGHT, DARK, PHONE)


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

# Most of axe's time goes into the colours of code and formulas, word for word. One word of each
# colour on each ground is enough.
THIN = r"""() => {
  const kinds = new Set(), again = [];
  for (const word of document.querySelectorAll(":is(pre, .math) span:not(:has(*))")) {
    const ground = getComputedStyle(word.closest(".highlight, .output, .math")).backgroundColor;
    const {color, fontWeight} = getComputedStyle(word);
    const kind = [ground, color, fontWeight].join();
    if (kinds.has(kind)) again.push(word);
    kinds.add(kind);
  }
  for (const word of again) word.replaceWith(word.closest("pre") ? word.textContent : "");
}"""

# Started in all views before the first is waited for: Chromium has a process for each.
START_AXE = """options => {
  window.checked = axe.run(document, {resultTypes: ["violations"], ...options});
  return null;
}"""
AXE_SAYS = """async () => (await checked).violations.flatMap(({id, help, nodes}) =>
  nodes.map(({target, html}) => `${id}: ${help}: ${target.join(" ")}: ${html.slice(0, 200)}`))"""


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
    """Open every page in every view; the first as on a first visit."""
    checker = axe()
    contexts = [
        browser.new_context(
            viewport={"width": view.width, "height": view.height}, color_scheme=view.scheme
        )
        for view in VIEWS
    ]
    found = []
    for page in pages:
        tabs = []
        for view, context in zip(VIEWS, contexts, strict=True):
            tab = context.new_page()
            seen = opened(tab, address, page, view)
            tab.evaluate(THIN)
            tab.evaluate(checker)
            tab.evaluate(START_AXE, view.rules)
            tabs.append((tab, seen))
        for tab, seen in tabs:
            seen.violations = tab.evaluate(AXE_SAYS)
            tab.close()
            found.append(seen)
    return found
