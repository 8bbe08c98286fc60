"""The API reference and the chapters link each other.

A docstring of `companion` is plain text: names stand between single backticks, formulas and
examples are indented, and `Chapter 2, "The timesteps".` names the section that derives a function;
`"Behind the firewall", "Tokens".` names one of a chapter that has no number.
Here it becomes what Sphinx reads: names are code and lead to their entry, sections are links. In
the chapters a name in the text leads to its entry: a full one (`companion.denoise.ddim`) always, a
short one that the chapter has imported where it is first named. A section that a page's text names
is a link to it.
"""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.roles import XRefRole
from sphinx.util.logging import getLogger
from sphinx.util.nodes import make_refnode

LOGGER = getLogger(__name__)
API = "book/api/"
# What is code or a link already, or stands in a heading.
CLOSED = (nodes.title, nodes.reference, nodes.literal, nodes.literal_block, nodes.raw)
CODE = re.compile(r"(``.+?``|(?<!`)`[^`]+`(?!`))", re.DOTALL)
# The chapters without a number, by the title that a docstring calls them.
UNNUMBERED: dict[int | str, str] = {
    "Behind the firewall": "book/behind_the_firewall",
    "And how good is it?": "book/how_good",
}
NAMES = "|".join(re.escape(str(name)).replace(r"\ ", r"\s+") for name in UNNUMBERED)
# In straight quotes as written, in curly ones on a page.
SECTION = re.compile(rf'(?:Chapter\s+(\d+)|["“]({NAMES})["”]),\s+["“]([^"”]+)["”]')
CHAPTER = re.compile(r"\bChapter\s+(\d+)\b(?!,)")
# What reStructuredText would take for emphasis, a substitution or a link: in prose it is none.
MARKUP = re.compile(r"[*|\\]|(?<=\w)_(?!\w)")
HEADER = re.compile(r"(Args|Attributes|Raises|Returns|Yields|Example|Examples|Note):$")


def chapter_pages(env: BuildEnvironment) -> dict[int | str, str]:
    """The page of each chapter by its number, or by its title if it has none."""
    found = (re.fullmatch(r"book/(\d\d)_\w+", page) for page in env.found_docs)
    return {**UNNUMBERED, **{int(match[1]): match[0] for match in found if match}}


def named_section(found: re.Match[str]) -> tuple[int | str, str]:
    """The chapter that a text names, by its number or title, and the section's title."""
    number, name, title = (" ".join(part.split()) if part else "" for part in found.groups())
    return int(number) if number else name, title


def section_link(found: re.Match[str], pages: Mapping[int | str, str]) -> str:
    """The role that links a section."""
    chapter, title = named_section(found)
    page = pages[chapter]
    called = f'"{chapter}"' if isinstance(chapter, str) else f"Chapter {chapter}"
    return f':section:`{called}, "{title}" <{page}#{title}>`'


def as_rst(text: str, pages: Mapping[int | str, str]) -> str:
    """A docstring's plain text as reStructuredText."""
    pieces = CODE.split(text)
    for i, piece in enumerate(pieces):
        if i % 2:
            pieces[i] = f"``{' '.join(piece.strip('`').split())}``"
            continue
        piece = MARKUP.sub(lambda found: f"\\{found.group()}", piece)
        piece = SECTION.sub(lambda found: section_link(found, pages), piece)
        pieces[i] = CHAPTER.sub(
            lambda found: f":doc:`Chapter {found[1]} </{pages[int(found[1])]}>`", piece
        )
    return "".join(pieces)


def paragraphs(text: str) -> Iterator[tuple[bool, str]]:
    """The text in pieces between empty lines, each with whether it is code: indented, and under no
    header such as `Args:`."""
    under_header = False
    for piece in re.split(r"\n(?:[ \t]*\n)+", text):
        indented = piece.startswith(" ")
        if not indented:
            under_header = False
        yield indented and not under_header, piece
        if HEADER.match(piece.splitlines()[0] if piece else ""):
            under_header = True


def convert(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring into reStructuredText, before napoleon reads its `Args:`."""
    pages = chapter_pages(app.env)
    converted = []
    for is_code, piece in paragraphs("\n".join(lines).strip()):
        if is_code:
            converted.append(f"::\n\n{piece}")
        else:
            converted.append(as_rst(piece, pages))
    # Napoleon would take an attribute's words before a colon for its type; it looks at the first
    # line, which is a comment here.
    first = ["..", ""] if what in ("attribute", "data", "property") else []
    lines[:] = [*first, *"\n\n".join(converted).split("\n"), ""]


def tidy_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, str | None] | None:
    """Mend the signatures of classes that Sphinx cannot read, and leave out a protocol's, which
    nobody makes."""
    if what != "class":
        return None
    if getattr(obj, "_is_protocol", False):
        return "", None
    if "FieldInfo(" in signature:  # pydantic's limits of each field: the names are enough
        return f"({', '.join(inspect.signature(obj).parameters)})", None
    return signature.replace("<factory>", "..."), returns


def find_section(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.TextElement
) -> nodes.reference | None:
    """The link to a section by its title; without such a section none, and Sphinx says so."""
    if node["reftype"] != "section":
        return None
    page, _, title = node["reftarget"].partition("#")
    anchor = anchor_of(env, page, title)
    if anchor is None:
        return None
    return make_refnode(app.builder, node["refdoc"], page, anchor, text)


def link_sections(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Make a link of each section that a page's text names: Chapter 2, "The timesteps"."""
    pages = chapter_pages(app.env)
    for text in list(doctree.findall(nodes.Text)):
        if any(isinstance(above, CLOSED) for above in ancestors(text)):
            continue
        pieces: list[nodes.Node] = []
        rest = 0
        for named in SECTION.finditer(text):
            chapter, title = named_section(named)
            to = pages[chapter]
            anchor = anchor_of(app.env, to, title)
            if anchor is None:
                LOGGER.warning("%s names a section that is not there: %s", page, named[0])
                continue
            link = make_refnode(app.builder, page, to, anchor, nodes.Text(named[0]))
            pieces += [nodes.Text(text[rest : named.start()]), link]
            rest = named.end()
        if pieces:
            text.parent.replace(text, [*pieces, nodes.Text(text[rest:])])


def anchor_of(env: BuildEnvironment, page: str, title: str) -> str | None:
    """Where a section lies on a page, by its title. The dots behind an exercise's title, which say
    how hard it is, may be left out."""
    wanted = title.replace("`", "").replace("'", "’").rstrip(" •")
    for entry in env.tocs[page].findall(nodes.reference):
        if entry.astext().replace("'", "’").rstrip(" •") == wanted:
            return str(entry["anchorname"]).removeprefix("#")
    return None


def imported_names(doctree: nodes.document) -> dict[str, str]:
    """What the page's cells import from the package, by the short name, with the full one."""
    names = {}
    for block in doctree.findall(nodes.literal_block):
        if "from companion" not in block.astext():
            continue
        try:
            tree = ast.parse(block.astext())
        except SyntaxError:  # a cell with a line for the shell
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("companion"):
                for alias in node.names:
                    names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def link_names(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Make a link of each name in the text that has an entry in the reference."""
    entries = app.env.domaindata["py"]["objects"]
    on_a_reference_page = page.startswith(API)
    room = f"companion.{page.removeprefix(API)}" if on_a_reference_page else ""
    imported = {} if on_a_reference_page else imported_names(doctree)
    linked = set()
    for literal in list(doctree.findall(nodes.literal)):
        if any(isinstance(above, nodes.reference | nodes.title) for above in ancestors(literal)):
            continue
        name = literal.astext().removesuffix("()")
        short = imported.get(name, f"{room}.{name}" if room else "")
        full = name if name in entries else short
        entry = entries.get(full)
        if entry is None or (name in imported and full in linked):
            continue
        linked.add(full)
        link = make_refnode(app.builder, page, entry.docname, entry.node_id, literal.deepcopy())
        literal.replace_self(link)


def name_attributes(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Call a class's attributes so; Sphinx calls them variables."""
    for heading in doctree.findall(nodes.field_name):
        if heading.astext() == "Variables":
            heading.children = [nodes.Text("Attributes")]


def ancestors(node: nodes.Node) -> Iterator[nodes.Node]:
    """What a node lies in, from the inside out."""
    while node.parent is not None:
        node = node.parent
        yield node


def setup(app: Sphinx) -> dict[str, Any]:
    """Add it to Sphinx."""
    app.add_role("section", XRefRole(innernodeclass=nodes.inline, warn_dangling=True))
    app.connect("autodoc-process-docstring", convert, priority=400)  # napoleon has 500
    app.connect("autodoc-process-signature", tidy_signature)
    app.connect("missing-reference", find_section)
    app.connect("doctree-resolved", link_names)
    app.connect("doctree-resolved", link_sections)
    app.connect("doctree-resolved", name_attributes)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
