"""What a page says of itself to search engines, and to who is sent its address.

A description from its first paragraph, and a card with its first picture. The canonical address is
Sphinx's own, from `html_baseurl`.
"""

import re
import textwrap
from html import escape, unescape
from pathlib import Path
from typing import Any

import matplotlib
from docutils import nodes
from PIL import Image, ImageDraw, ImageFont
from sphinx.application import Sphinx

LONGEST = 200  # characters of a description; more is not shown
SIZE = 1200, 630  # what is shown whole nearly everywhere
EDGE = 56
INK, PALE, PAPER = "#1b2733", "#52616f", "#ffffff"
# What a picture lies under, or a table's or a box's text: no first paragraph of a page.
ASIDE = nodes.Admonition | nodes.entry | nodes.caption | nodes.footnote | nodes.topic
TAG = re.compile("<[^>]+>")
CARD = re.compile(r'<meta property="og:image" content="[^"]*/_static/cards/([^"]+)"')
TITLE = re.compile(r'<meta property="og:title" content="([^"]*)"')
OPENING = re.compile(r'<a class="[^"]*\blarger" href="([^"]+\.(?:webp|png|jpg))"')
ABOUT_THE_PAGE = re.compile(
    r'<title>.*?</title>|<meta (?:name="description"|name="twitter:card"|property="og:)[^>]*>'
    r'|<link rel="(?:canonical|icon|shortcut icon)"[^>]*>',
    re.DOTALL,
)


def shortened(text: str) -> str:
    """As much of a text as is shown, up to the end of a sentence or else of a word."""
    if len(text) <= LONGEST:
        return text
    end = max(text.rfind(sign, 80, LONGEST) for sign in (". ", "! ", "? "))
    return text[: end + 1] if end > 0 else textwrap.shorten(text, LONGEST, placeholder="…")


def description(doctree: nodes.document | None) -> str | None:
    """The first paragraph of a page's own text that has more than a few words and no formula."""
    for paragraph in doctree.findall(nodes.paragraph) if doctree else ():
        above: Any = paragraph.parent
        while above is not None and not isinstance(above, ASIDE):
            above = above.parent
        text = " ".join(paragraph.astext().split())
        if above is None and len(text) > 40 and not list(paragraph.findall(nodes.math)):
            return shortened(text)
    return None


def say(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Write it into the head of a page."""
    if app.builder.name != "html" or not app.config.html_baseurl:
        return
    book = app.config.html_title
    title = unescape(TAG.sub("", context.get("title") or "")) or book
    about = description(doctree) or f"{title}: a page of {book}, {app.config.cards_about}"
    base = app.config.html_baseurl.rstrip("/") + "/"
    properties = {
        "og:type": "website" if page == app.config.root_doc else "article",
        "og:site_name": book,
        "og:title": title,
        "og:description": about,
        "og:url": base + app.builder.get_target_uri(page),
        "og:image": f"{base}_static/cards/{page.replace('/', '-')}.jpg",
        "og:image:width": str(SIZE[0]),
        "og:image:height": str(SIZE[1]),
        "og:image:alt": f"The title “{title}” beside a picture of the page",
    }
    tags = [f'<meta name="description" content="{escape(about)}" />']
    tags += [
        f'<meta property="{name}" content="{escape(value)}" />'
        for name, value in properties.items()
    ]
    tags.append('<meta name="twitter:card" content="summary_large_image" />')
    # Where a browser takes no SVG, and on a phone's home screen.
    png = context["pathto"]("_static/favicon.png", resource=True)
    tags.append(f'<link rel="icon" type="image/png" sizes="192x192" href="{png}" />')
    tags.append(f'<link rel="apple-touch-icon" href="{png}" />')
    context["metatags"] = "\n".join([context.get("metatags", ""), *tags])


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Matplotlib's own, which is there and has Greek."""
    name = f"fonts/ttf/DejaVuSans{'-Bold' if bold else ''}.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / name, size)


def wrapped(text: str, its: ImageFont.FreeTypeFont, width: int) -> str:
    """A text in lines that are no longer."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if its.getlength(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def card(title: str, book: str, logo: Image.Image, picture: Image.Image | None) -> Image.Image:
    """The title of a page and a picture: a wide one below, another one to the right. A page without
    one has the logo there."""
    drawn = Image.new("RGB", SIZE, PAPER)
    pen = ImageDraw.Draw(drawn)
    drawn.paste(logo.resize((64, 64), Image.Resampling.NEAREST), (EDGE, EDGE))
    pen.text((EDGE + 84, EDGE + 32), book, PALE, font(30), anchor="lm")
    top = EDGE + 64 + 36
    shown = logo if picture is None else picture
    wide = shown.width > 1.6 * shown.height
    room = SIZE[0] - 2 * EDGE if wide else SIZE[0] // 2 - EDGE
    sizes = (64, 56, 48, 42, 36)
    fonts = [font(size, bold=True) for size in sizes]
    most = 130 if wide else SIZE[1] - EDGE - top

    def height(its: ImageFont.FreeTypeFont) -> float:
        return pen.multiline_textbbox((0, 0), wrapped(title, its, room), its, spacing=10)[3]

    its = next((one for one in fonts if height(one) <= most), fonts[-1])
    pen.multiline_text((EDGE, top), wrapped(title, its, room), INK, its, spacing=10)
    if wide:
        box = (EDGE, top + round(height(its)) + 30, SIZE[0] - EDGE, SIZE[1] - EDGE)
    else:
        box = (SIZE[0] // 2 + EDGE, EDGE, SIZE[0] - EDGE, SIZE[1] - EDGE)
    scale = min((box[2] - box[0]) / shown.width, (box[3] - box[1]) / shown.height)
    size = max(1, round(shown.width * scale)), max(1, round(shown.height * scale))
    how = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS
    corner = (box[0] + (box[2] - box[0] - size[0]) // 2, box[1] + (box[3] - box[1] - size[1]) // 2)
    drawn.paste(shown.resize(size, how), corner)
    return drawn


def on_paper(path: Path) -> Image.Image:
    """A picture as it looks on a white page."""
    picture = Image.open(path).convert("RGBA")
    paper = Image.new("RGBA", picture.size, PAPER)
    return Image.alpha_composite(paper, picture).convert("RGB")


def draw_cards(app: Sphinx, exception: Exception | None) -> None:
    """Draw each page's card, and let the site's first address, which leads to the first page, say
    of itself what that page says."""
    if exception or app.builder.name != "html" or not app.config.html_baseurl:
        return
    site = Path(app.outdir)
    folder = site / "_static" / "cards"
    folder.mkdir(exist_ok=True)
    logo = on_paper(site / "_static" / "favicon.png").resize((8, 8), Image.Resampling.NEAREST)
    for path in sorted(site.rglob("*.html")):
        html = path.read_text(encoding="utf-8")
        name, title = CARD.search(html), TITLE.search(html)
        if name and title:
            found = OPENING.search(html)
            source = path.parent / found[1] if found else None
            picture = on_paper(source) if source else None
            label = Image.open(source).info.get("xmp", b"") if source else b""
            drawn = card(unescape(title[1]), app.config.html_title, logo, picture)
            drawn.save(folder / name[1], quality=88, xmp=label)  # it says if a model drew it
    index, first = site / "index.html", site / app.builder.get_target_uri(app.config.root_doc)
    if index.is_file() and index != first:
        about = "\n".join(ABOUT_THE_PAGE.findall(first.read_text(encoding="utf-8")))
        about = about.replace('href="../', 'href="')
        redirect = index.read_text(encoding="utf-8").splitlines()[-1]
        index.write_text(
            f'<!DOCTYPE html>\n<html lang="{app.config.language}">\n<meta charset="utf-8" />\n'
            f"{about}\n{redirect}\n",
            encoding="utf-8",
        )


def setup(app: Sphinx) -> dict[str, Any]:
    """Add it to Sphinx."""
    app.add_config_value("cards_about", "", "html")
    app.connect("html-page-context", say)
    app.connect("build-finished", draw_cards, priority=800)  # behind light_pages: its links
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
