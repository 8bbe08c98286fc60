"""A link to a paper becomes a citation: it leads to the paper's entry on the page References.

The text of a chapter links a paper plainly, `[Ho et al. 2020](https://arxiv.org/abs/2006.11239)`,
so that it reads well in Colab and JupyterLab too. Here the address is looked up in
`book/references.bib`; the link then leads to the entry, which sphinxcontrib-bibtex writes, and says
in its title which paper it is. Each entry names the pages that cite it.
"""

import re
from typing import Any

from docutils import nodes
from pybtex.database import BibliographyData, Entry
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode
from sphinxcontrib.bibtex.domain import BibtexDomain

REFERENCES = "book/references"
# Versions and the PDF of a paper are the same paper.
ARXIV = re.compile(r"https?://arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})")


def address_of(entry: Entry) -> str:
    """Where a paper lies: on arXiv, by its DOI, or where its entry says."""
    if "eprint" in entry.fields:
        return f"https://arxiv.org/abs/{entry.fields['eprint']}"
    if "doi" in entry.fields:
        return f"https://doi.org/{entry.fields['doi']}"
    return str(entry.fields["url"])


def same_address(url: str) -> str:
    """One spelling for the addresses of one paper."""
    paper = ARXIV.match(url)
    return f"https://arxiv.org/abs/{paper[1]}" if paper else url.rstrip("/")


def preview(entry: Entry) -> str:
    """A paper in a line: who, what, when."""
    people = [" ".join(person.last_names) for person in entry.persons["author"]]
    authors = f"{people[0]} et al." if len(people) > 2 else " and ".join(people)
    title = re.sub(r"[{}]", "", entry.fields["title"])
    return f"{authors}: {title} ({entry.fields['year']})"


def papers(data: BibliographyData) -> dict[str, tuple[str, Entry]]:
    """All papers by their address, each with its key."""
    return {same_address(address_of(entry)): (key, entry) for key, entry in data.entries.items()}


def bibliography(env: BuildEnvironment) -> BibliographyData:
    """What references.bib holds."""
    domain = env.get_domain("cite")
    assert isinstance(domain, BibtexDomain)
    return domain.bibdata.data


def find_citations(app: Sphinx, doctree: nodes.document) -> None:
    """Note in a page's metadata which papers it links."""
    known = papers(bibliography(app.env))
    links = {same_address(link.get("refuri", "")) for link in doctree.findall(nodes.reference)}
    app.env.metadata[app.env.docname]["cites"] = [known[link][0] for link in links & set(known)]


def link_papers(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Lead each link to a paper to its entry; write below each entry who cites it."""
    if page == REFERENCES:
        name_citing_pages(app, doctree)
        return
    known = papers(bibliography(app.env))
    for link in doctree.findall(nodes.reference):
        key, entry = known.get(same_address(link.get("refuri", "")), ("", None))
        if entry is None:
            continue
        link["refuri"] = app.builder.get_relative_uri(page, REFERENCES) + f"#{key}"
        link["internal"] = True
        link["reftitle"] = preview(entry)
        link["classes"].append("paper")


def name_citing_pages(app: Sphinx, doctree: nodes.document) -> None:
    """Write below each entry of the references which pages cite it."""
    env = app.env
    cites = {page: env.metadata[page].get("cites", []) for page in env.found_docs}
    for citation in doctree.findall(nodes.citation):
        key = citation["ids"][0]
        pages = [page for page in sorted(cites) if key in cites[page]]
        if not pages:
            continue
        line = nodes.paragraph("", "Cited in ", classes=["cited-in"])
        for i, page in enumerate(pages):
            title = nodes.Text(env.titles[page].astext())
            line += [nodes.Text(", ")] if i else []
            line += make_refnode(app.builder, REFERENCES, page, None, title)
        citation += line


def setup(app: Sphinx) -> dict[str, Any]:
    """Add it to Sphinx."""
    app.setup_extension("sphinxcontrib.bibtex")
    app.connect("doctree-read", find_citations)
    app.connect("doctree-resolved", link_papers)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
