"""The built pages, made light: what a browser need not fetch is taken out, and nothing else.

The theme brings every icon of Font Awesome and every rule of Bootstrap to every page, and Sphinx
has the scripts of the search fetched before the first word is shown. Once the pages are written

- the style sheets become one, without the rules whose classes no page and no script names;
- the icons that pages have come inside the style sheet, as a font of just these;
- scripts wait until the page is read, and a page without a formula has none that draws formulas,
  a page other than the search's none that searches;
- what a program's colours leave in the colour of the text has no mark that says so;
- pictures become WebP, without loss and with the labels that they carry, and are fetched when near;
  those inside a page's text become files, so that the text does not wait for them;
- each picture links the file, which `larger.js` opens in a dialog.
"""

import base64
import hashlib
import io
import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tinycss2
from fontTools import subset
from fontTools.ttLib import TTFont
from PIL import Image
from sphinx.application import Sphinx

NAME = re.compile(r"[\w-]+")
SCRIPT = re.compile(r'<script\b(?![^>]*\b(?:defer|async)\b)([^>]*\bsrc="([^"?]+))')
DEFERRED = re.compile(r"<script\b[^>]*\b(?:defer|async)\b[^>]*></script>")
AFTER_SCRIPTS = re.compile(r'<script defer src="[^"]*/bootstrap\.js')
DRAWS_FORMULAS = re.compile(r"<script\b[^>]*/(?:katex\.min|formulas)\.js[^>]*></script>")
NOT_NEEDED = re.compile(
    r'<script\b[^>]*/fontawesome\.js[^>]*></script>|<link rel="preload" as="script"[^>]*/>'
)
SEARCHES = re.compile(
    r'<script\b[^>]*src="(?:[^"]*/)?(?:searchtools|language_data|searchindex)\.js[^>]*></script>\s*'
)
PROGRAM = re.compile(r"<pre>.*?</pre>", re.DOTALL)
# Names, modules, punctuation and spaces, which both of the book's styles give the text's colour.
UNCOLOURED = re.compile(r'<span class="(?:n|nn|p|w)">([^<]*)</span>')
OPTIONS = re.compile(r'<script\b[^>]*src="[^"]*/?_static/documentation_options\.js[^>]*></script>')
STYLE = re.compile(r'<link\b[^>]*\bhref="([^"]*_static/)([^"?]+\.css)[^>]*/>\s*')
PICTURE = re.compile(r'<img\b[^>]*\bsrc="[^"]*(?:_images|_static/images)/[^>]*>')
IN_A_LINK_OR_NOT = re.compile(r'(<a\b[^>]*>\s*)?(<img\b[^>]*\bsrc="([^"]*_images/[^"]+)"[^>]*>)')
SLIDERS = re.compile(r'(<figure class="companion-.*?</figure>)', re.DOTALL)
IN_THE_TEXT = re.compile(r'(<img\b[^>]*\bsrc=")data:image/png;base64,([A-Za-z0-9+/=]+)"')
CLASSES = re.compile(r"""\bclass=(?:"([^"]*)"|'([^']*)')""")
INLINE_SCRIPT = re.compile(r"<script\b(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
PROPERTY = re.compile(r"--[\w-]+")
USED_PROPERTY = re.compile(r"var\(\s*(--[\w-]+)")
# A value may hold strings and brackets with any sign in them.
SET_PROPERTY = re.compile(
    r"""(--[\w-]+)\s*:(?:"[^"]*"|'[^']*'|\((?:[^()]|\([^()]*\))*\)|[^;{}"'()])*(?:;|(?=}))"""
)
# Parts of Bootstrap that come with its script, and that no page has.
NOT_ON_PAGES = ("carousel", "modal", "offcanvas", "popover", "toast")
FACE = re.compile(r"@font-face\s*{[^}]*webfonts/([\w-]+)\.woff2[^}]*}")
SOURCES = re.compile(r"src:[^;}]*webfonts/[^;}]*")
# In Font Awesome's script: ...:[512,512,[9999,61504,"pencil-alt"],"f303","M410...
OTHER_NAMES = re.compile(r'\[\d+,\d+,\[([^\]]*)\],"([0-9a-f]+)"')
SIGN = re.compile(r'"\\([0-9a-f]{2,5})"')
IMPORT = re.compile(r'@import "([^"]+)";?')
ONE_STYLE = "book.css"
XMP = "XML:com.adobe.xmp"


def as_webp(png: bytes) -> bytes | None:
    """The same pixels in fewer bytes, with the label that says where they come from; None where PNG
    is as small, or is of a kind that WebP does not hold to the bit."""
    picture = Image.open(io.BytesIO(png))
    if picture.format != "PNG" or picture.mode not in ("RGB", "RGBA", "P", "L", "1"):
        return None
    exact = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    written = io.BytesIO()
    label = picture.info.get(XMP, "").encode()
    exact.save(written, "WEBP", lossless=True, quality=75, method=6, exact=True, xmp=label)
    return written.getvalue() if written.tell() < len(png) else None


def lighten_pictures(folder: Path) -> dict[str, str]:
    """Write the pictures of a folder as WebP, and give their new names by the old."""
    renamed = {}
    for path in sorted(folder.glob("*.png")):
        if webp := as_webp(path.read_bytes()):
            path.with_suffix(".webp").write_bytes(webp)
            path.unlink()
            renamed[path.name] = f"{path.stem}.webp"
    return renamed


def taken_out(html: str, images: Path, to_images: str) -> str:
    """The page with the pictures that lie inside its text as files."""

    def as_file(found: re.Match[str]) -> str:
        png = base64.b64decode(found[2])
        webp = as_webp(png)
        name = f"{hashlib.sha256(png).hexdigest()[:32]}.{'webp' if webp else 'png'}"
        (images / name).write_bytes(webp or png)
        return f'{found[1]}{to_images}{name}"'

    return IN_THE_TEXT.sub(as_file, html)


def sized(tag: str, page: Path) -> str:
    """An <img> that is fetched when it comes near, and keeps its room free until then."""
    attributes = "" if "loading=" in tag else ' loading="lazy"'
    source = re.search(r'src="([^"]+\.(?:png|webp|jpg))"', tag)
    if source and not re.search(r"\b(width|height|style)=", tag):
        width, height = Image.open(page.parent / source[1]).size
        attributes += f' width="{width}" height="{height}"'
    return f"<img{attributes}{tag.removeprefix('<img')}"


def opening(found: re.Match[str]) -> str:
    """A picture in a link to itself, where it is in none."""
    before, tag, source = found.groups()
    if "sd-card-img" in tag:  # the whole card is a link
        return found[0]
    if before and f'href="{source}"' in before:
        return f"{before.replace('image-reference', 'image-reference larger')}{tag}"
    return found[0] if before else f'<a class="larger" href="{source}">{tag}</a>'


def lightened(path: Path, site: Path, renamed: dict[str, str], options: str) -> str:
    """What a page says, in fewer bytes."""
    html = NOT_NEEDED.sub("", path.read_text(encoding="utf-8"))
    # The page says its name to these options at once; the scripts that read both come later.
    html = OPTIONS.sub(lambda _: f"<script>{options}</script>", html)
    html = SCRIPT.sub(r"<script defer\1", html)
    if path.name != "search.html":
        html = SEARCHES.sub("", html)
    html = PROGRAM.sub(lambda found: UNCOLOURED.sub(r"\1", found[0]), html)
    # At the end of the page, so that they do not run in the way of the style sheet.
    head, body = html.split("</head>", 1) if "</head>" in html else (html, "")
    # Formulas are read first.
    scripts = "\n".join(sorted(DEFERRED.findall(head), key=lambda tag: "/katex/" not in tag))
    html = DEFERRED.sub("", head) + "</head>" * bool(body) + body
    html = AFTER_SCRIPTS.sub(lambda found: f"{scripts}\n{found[0]}", html, count=1)
    if not re.search(r'class="(?:[\w-]+ )*math\b', html):
        html = DRAWS_FORMULAS.sub("", html)
    html = re.sub(
        r"(_images/)([^\"/]+\.png)", lambda found: found[1] + renamed.get(found[2], found[2]), html
    )
    up = "../" * (len(path.relative_to(site).parts) - 1)
    html = taken_out(html, site / "_images", f"{up}_images/")
    html = PICTURE.sub(lambda found: sized(found[0], path), html)
    # What a slider shows stays in its place; all else opens.
    pieces = SLIDERS.split(html)
    pieces[::2] = [IN_A_LINK_OR_NOT.sub(opening, piece) for piece in pieces[::2]]
    return "".join(pieces)


def may_match(selector: list[Any], names: set[str]) -> bool:
    """Whether all classes of one selector are somewhere. What stands in brackets, as in
    :not(.live), decides nothing."""
    return all(
        token.value in names
        for before, token in itertools.pairwise(selector)
        if before.type == "literal" and before.value == "." and token.type == "ident"
    )


def purged(rules: Iterable[Any], names: set[str]) -> str:
    """A style sheet without the rules for classes that have no names here."""
    kept = []
    for rule in rules:
        is_at = rule.type == "at-rule" and rule.content
        if is_at and rule.lower_at_keyword in ("media", "supports"):
            inner = purged(tinycss2.parse_rule_list(rule.content, True, True), names)
            if inner:
                kept.append(f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{inner}}}")
        elif rule.type == "qualified-rule":
            selectors: list[list[Any]] = [[]]
            for token in rule.prelude:
                if token.type == "literal" and token.value == ",":
                    selectors.append([])
                else:
                    selectors[-1].append(token)
            alive = [tinycss2.serialize(one).strip() for one in selectors if may_match(one, names)]
            if alive:
                kept.append(f"{','.join(alive)}{{{tinycss2.serialize(rule.content).strip()}}}")
        else:
            kept.append(rule.serialize())
    return "\n".join(kept)


def font_of(ttf: Path, signs: Iterable[int]) -> str:
    """The address of a font with these signs and no others, inside a style sheet."""
    font = TTFont(ttf)
    options = subset.Options(hinting=False, layout_features=[], name_IDs=[])
    cut = subset.Subsetter(options)
    cut.populate(unicodes=signs)
    cut.subset(font)
    font.flavor = "woff"
    written = io.BytesIO()
    font.save(written)
    return f"data:font/woff;base64,{base64.b64encode(written.getvalue()).decode()}"


def with_icons(css: str, webfonts: Path, names: set[str], fontawesome: str) -> str:
    """The theme's style sheet with the icons that pages name (`fa-bars`) and those that it puts
    beside boxes and links itself: a rule for each, and a font of just these."""
    signs_of = {}
    for ttf in sorted(webfonts.glob("*.ttf")):
        for code, icon in sorted(TTFont(ttf).getBestCmap().items(), reverse=True):
            signs_of[icon] = f"{code:x}"
    for others, sign in OTHER_NAMES.findall(fontawesome):
        signs_of |= dict.fromkeys(re.findall(r'"([\w-]+)"', others), sign)
    css += "\n" + "\n".join(
        # The second one is for screen readers, which have nothing to say of it.
        f'.fa-{icon}::before{{content:"\\{sign}";content:"\\{sign}"/""}}'
        for icon, sign in signs_of.items()
        if f"fa-{icon}" in names
    )
    signs = {int(code, 16) for code in SIGN.findall(css)}

    def face(found: re.Match[str]) -> str:
        ttf = webfonts / f"{found[1]}.ttf"
        its = signs & set(TTFont(ttf).getBestCmap())
        return SOURCES.sub(lambda _: f'src:url({font_of(ttf, its)}) format("woff")', found[0])

    return FACE.sub(face, css)


def names_in(html: str) -> set[str]:
    """The classes of a page, whatever its own scripts may give to it, and the theme's properties
    that it uses."""
    names = {name for found in CLASSES.findall(html) for name in "".join(found).split()}
    for script in INLINE_SCRIPT.findall(html):
        names.update(NAME.findall(script))
    return names | set(PROPERTY.findall(html))


def one_style(static: Path, styles: Iterable[str], names: set[str]) -> str:
    """All style sheets in their order, with what they import."""
    sheets = []
    for name in styles:
        css = (static / name).read_text(encoding="utf-8").removeprefix('@charset "UTF-8";')
        for imported in IMPORT.finditer(css):
            wanted = (static / name).parent / imported[1]
            css = css.replace(imported[0], wanted.read_text(encoding="utf-8"))
        sheets.append(purged(tinycss2.parse_stylesheet(css, True, True), names))
    css = "\n".join(sheets)
    used = names | set(USED_PROPERTY.findall(css))
    css = SET_PROPERTY.sub(lambda found: found[0] if found[1] in used else "", css)
    fontawesome = (static / "scripts" / "fontawesome.js").read_text(encoding="utf-8")
    return with_icons(css, static / "vendor" / "fontawesome" / "webfonts", names, fontawesome)


def lighten(app: Sphinx, exception: Exception | None) -> None:
    """Make what was built light."""
    if exception or app.builder.name != "html":
        return
    site = Path(app.outdir)
    static = site / "_static"
    options = (static / "documentation_options.js").read_text(encoding="utf-8").strip()
    renamed = lighten_pictures(site / "_images")
    pages = {
        path: lightened(path, site, renamed, options)
        for path in sorted(site.rglob("*.html"))
        if static not in path.parents
    }
    names: set[str] = set()
    styles: dict[str, None] = {}  # in the order of the pages
    for html in pages.values():
        names |= names_in(html)
        its = [name for _, name in STYLE.findall(html)]
        styles |= dict.fromkeys(name for name in its if name != ONE_STYLE)
    folders = [static, static / "scripts", static / "live"]
    for path in itertools.chain.from_iterable(folder.glob("*.js") for folder in folders):
        if path.name == "fontawesome.js":
            continue
        found = NAME.findall(path.read_text(encoding="utf-8"))
        names.update(name for name in found if not name.startswith(NOT_ON_PAGES))
    css = one_style(static, styles, names)
    (static / ONE_STYLE).write_text(css, encoding="utf-8")
    version = hashlib.sha256(css.encode()).hexdigest()[:8]
    for path, html in pages.items():
        first = STYLE.search(html)
        if first:
            link = f'<link rel="stylesheet" href="{first[1]}{ONE_STYLE}?v={version}" />\n'
            html = html[: first.start()] + link + STYLE.sub("", html[first.start() :])
        path.write_text(html, encoding="utf-8")
    for path in [*static.rglob("*.map"), static / "scripts" / "fontawesome.js"]:
        path.unlink()


def setup(app: Sphinx) -> dict[str, Any]:
    """Add it to Sphinx."""
    app.connect("build-finished", lighten, priority=700)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
