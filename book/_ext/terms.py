"""The glossary's terms become links and entries of the index, where a page first mentions them.

A chapter says `latents` or `guidance scale` in plain words, so that it reads well in Colab and
JupyterLab too. Here the first mention on each page leads to the term's entry in `book/glossary.md`,
says in its title what the term means, and is listed in the index.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from companion_api import SECTION, ancestors
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

GLOSSARY = "book/glossary"
# Pages whose words are names and addresses, or the terms themselves.
LEFT_ALONE = re.compile(r"book/(glossary|references|status|api/.*)$")
# On these pages the word means something else: what opens the hub, a password; a mark for a
# picture, and what KID compares two pictures with.
ANOTHER_SENSE = {
    "token": ("book/01_start", "book/05_training", "book/behind_the_firewall", "book/reliability"),
    "score": ("book/how_good",),
    "kernel": ("book/how_good",),
}
# A term in a heading, a link or code is not linked once more.
CLOSED = (
    nodes.title,
    nodes.reference,
    addnodes.pending_xref,
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.math_block,
    nodes.raw,
    nodes.rubric,
    nodes.caption,
)


@cache
def terms_of(glossary: str) -> dict[str, tuple[str, str]]:
    """Each form of each term of a glossary's text: the term it belongs to, and what it means."""
    found = {}
    for block in re.findall(r"```\{glossary\}\n(.*?)```", glossary, re.DOTALL):
        for entry in re.split(r"\n\s*\n(?=\S)", block.strip("\n")):
            lines = entry.splitlines()
            forms = [line for line in lines if line and not line[0].isspace()]
            meaning = " ".join(line.strip() for line in lines[len(forms) :])
            for form in forms:
                found[form] = (forms[0], meaning)
    return found


def pattern_of(forms: Iterator[str]) -> re.Pattern[str]:
    """What finds any of the forms: the longest first, in the plural too, as whole words.

    A form with a capital behind its first letter is a name or an abbreviation, and is found only as
    it is written.
    """
    pieces = [
        re.escape(form) if re.search("[A-Z]", form[1:]) else f"(?i:{re.escape(form)})"
        for form in sorted(forms, key=len, reverse=True)
    ]
    return re.compile(rf"(?<![\w-])({'|'.join(pieces)})s?(?![\w-])")


class LinkTerms(SphinxTransform):
    """Make a link and an entry of the index of each term's first mention on a page."""

    default_priority = 800  # before the domains collect what the index holds

    def apply(self, **kwargs: Any) -> None:
        """Go through the page's text once."""
        page = self.env.docname
        if LEFT_ALONE.match(page):
            return
        path = Path(self.env.doc2path(GLOSSARY))
        terms = terms_of(path.read_text(encoding="utf-8"))
        self.env.note_dependency(str(path))
        by_form = {form.lower(): term for form, (term, _) in terms.items()}
        pattern = pattern_of(iter(terms))
        title = self.document.next_node(nodes.title)
        self.title = title.astext() if title else page
        seen = {term for term, pages in ANOTHER_SENSE.items() if page in pages}
        for text in list(self.document.findall(nodes.Text)):
            if not any(closed(above) for above in ancestors(text)):
                text.parent.replace(text, list(self.linked(text, pattern, by_form, seen)))

    def linked(
        self, text: nodes.Text, pattern: re.Pattern[str], by_form: dict[str, str], seen: set[str]
    ) -> Iterator[nodes.Node]:
        """The text in pieces, the terms among them that were not seen yet as links."""
        rest = 0
        # The title of a section is a link as a whole.
        sections = [range(*named.span()) for named in SECTION.finditer(text)]
        for mention in pattern.finditer(text):
            term = by_form[mention[1].lower()]
            if term in seen or any(mention.start() in section for section in sections):
                continue
            seen.add(term)
            yield nodes.Text(text[rest : mention.start()])
            place = nodes.make_id(f"term-{term}")
            target = nodes.target("", "", ids=[place])
            self.document.note_explicit_target(target)
            yield addnodes.index(entries=[("single", f"{term}; {self.title}", place, "", None)])
            yield target
            link = addnodes.pending_xref(
                "",
                refdomain="std",
                reftype="term",
                reftarget=term,
                refexplicit=True,
                refdoc=self.env.docname,
                refwarn=True,
            )
            link += nodes.inline("", mention[0])
            yield link
            rest = mention.end()
        yield nodes.Text(text[rest:])


def closed(node: nodes.Node) -> bool:
    """Say whether what lies in a node stays as it is; a card is a link as a whole."""
    card = isinstance(node, nodes.Element) and "sd-card" in node.get("classes", [])
    return card or isinstance(node, CLOSED)


def say_meanings(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Write into each link to the glossary what the term means."""
    glossary = app.builder.get_relative_uri(page, GLOSSARY)
    if page == GLOSSARY:
        return
    text = Path(app.env.doc2path(GLOSSARY)).read_text(encoding="utf-8")
    meanings = {
        f"{glossary}#{anchor}": terms_of(text)[name][1]
        for (kind, name), (_, anchor) in app.env.domaindata["std"]["objects"].items()
        if kind == "term" and name in terms_of(text)
    }
    for link in doctree.findall(nodes.reference):
        if link.get("refuri") in meanings:
            link["reftitle"] = plain(meanings[link["refuri"]])
            link["classes"].append("term")


def plain(meaning: str) -> str:
    """A definition without Markdown's signs and without the section it points to."""
    return SECTION.sub("", re.sub("[*`]", "", meaning)).strip(" .") + "."


def setup(app: Sphinx) -> dict[str, Any]:
    """Add it to Sphinx."""
    app.add_transform(LinkTerms)
    app.connect("doctree-resolved", say_meanings)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
