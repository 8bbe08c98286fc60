// KaTeX draws the page's formulas. Sphinx writes them as \(...\) and \[...\], for MathJax.
"use strict";
if (window.katex) {
  const style = document.createElement("link");
  style.rel = "stylesheet";
  style.href = `${document.documentElement.dataset.content_root ?? ""}_static/katex/katex.min.css`;
  // A formula wider than the screen scrolls: with the keyboard too, once it can be chosen.
  style.addEventListener("load", async () => {
    await document.fonts.ready;
    for (const formula of document.querySelectorAll("div.math")) {
      if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
    }
  });
  document.head.append(style);
  for (const formula of document.querySelectorAll(".math")) {
    const written = formula.textContent.match(/\\(\(|\[)([\s\S]*)\\[)\]]/);
    if (written) {
      // An equation's number and its link stand before the formula, and stay.
      const drawn = document.createElement("span");
      drawn.style.flex = "auto"; // the theme sets a formula and its number in a row
      katex.render(written[2], drawn, { displayMode: written[1] === "[" });
      formula.replaceChildren(...formula.querySelectorAll(":scope > .eqno"), drawn);
    }
  }
}
