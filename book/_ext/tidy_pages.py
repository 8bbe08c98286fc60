"""What the theme and the tools leave undone in the pages that are built.

- Thebe, which runs cells on mybinder.org, is not offered here: none of it is in the pages.
- Libraries' notices to their own developers are taken out of their scripts: the console is empty,
  so that a reader who opens it sees only what went wrong.
- A program that reads pages aloud meets no table heading without words, no list of definitions that
  is none, and no fold whose name differs from what stands on it.
- Long code inside a sentence may break where a person would break it, behind a stop or a slash; a
  line of a program that goes on in the next keeps its depth there.
"""

import html
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

# Behind these a long piece of code may go on in the next line, a very long name behind a stroke.
BREAKS = re.compile(r"(?<=[./,(:\[])(?=[^\s./:)])")
LONG = 20
STROKE = re.compile(r"(?<=[^\W_]_)(?=[^\W_])")
VERY_LONG = 30
CODE = re.compile(r'(<span class="pre">)([^<]+)(</span>)')
PROGRAM = re.compile(r"(?<=<pre>)(.*?)(?=</pre>)", re.DOTALL)
TAG = re.compile(r"<[^>]*>")
SET_IN = re.compile(r"^((?:<[^>]*>)*)( +)")
MENDED = (
    # A corner of a table that heads nothing.
    (re.compile(r'<th class="head">(?:<p></p>)?</th>'), "<td></td>"),
    # The parameters of a signature, one a line: to Sphinx a list of definitions without terms.
    (re.compile(r"<dl>(?=\s*<dd>)"), '<dl role="presentation">'),
    # A fold is called by what stands on it.
    (re.compile(r'<summary aria-label="Toggle hidden content">'), "<summary>"),
)


def breakable(found: re.Match[str]) -> str:
    """A piece of code with the places where it may break."""
    before, code, after = found.groups()
    if len(html.unescape(code)) > LONG:
        names = BREAKS.split(code)
        code = "<wbr>".join(STROKE.sub("<wbr>", n) if len(n) > VERY_LONG else n for n in names)
    return before + code + after


def with_depth(line: str) -> str:
    """A line of a program that tells how far it is set in; book/_static/custom.css uses it."""
    text = TAG.sub("", line)
    depth = len(text) - len(text.lstrip(" "))
    if not depth or not text.strip():
        return line
    line = SET_IN.sub(r'\1<span class="depth">\2</span>', line)
    return f'<span style="--depth:{depth}">{line}</span>'


def with_depths(found: re.Match[str]) -> str:
    """A program whose lines do so: Pygments begins and ends every tag in one line."""
    return "\n".join(map(with_depth, found[0].split("\n")))


def tidy(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Mend the text of a page."""
    body = context.get("body")
    if not isinstance(doctree, nodes.document) or not body:
        return
    for pattern, mended in MENDED:
        body = pattern.sub(mended, body)
    context["body"] = PROGRAM.sub(with_depths, CODE.sub(breakable, body))


def leave_thebe_out(app: Sphinx) -> None:
    """Take back all that sphinx-thebe, which jupyter-book always loads, has asked for."""
    for listeners in app.events.listeners.values():
        for listener in [one for one in listeners if one.handler.__module__ == "sphinx_thebe"]:
            listeners.remove(listener)
    app.registry.css_files[:] = [
        (file, options) for file, options in app.registry.css_files if "thebe" not in file
    ]


def quiet(app: Sphinx, exception: Exception | None) -> None:
    """Take notices to developers out of the scripts, as a build for readers does."""
    if exception or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    for path in [*static.glob("*.js"), *static.glob("scripts/*.js")]:
        script = path.read_text(encoding="utf-8")
        if "console.log(" in script:
            path.write_text(script.replace("console.log(", "void ("), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Add it to Sphinx, behind jupyter-book's own extensions."""
    leave_thebe_out(app)
    app.connect("html-page-context", tidy)
    app.connect("build-finished", quiet)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
