// What the search shows of a page: its text alone, without the page's own contents and buttons, and
// with formulas as a person would type them.
"use strict";
{
  // biome-ignore format: a table of pairs, several in a line
  const SIGNS = {
    alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ε", varepsilon: "ε", eta: "η", theta: "θ",
    lambda: "λ", mu: "μ", pi: "π", rho: "ρ", sigma: "σ", tau: "τ", phi: "φ", varphi: "φ", nabla: "∇",
    bar: "\u0304", hat: "\u0302", tilde: "\u0303", sqrt: "√", sum: "Σ", prod: "Π", infty: "∞",
    times: "×", cdot: "·", odot: "⊙", pm: "±", partial: "∂", in: "∈", to: "→", mid: "|", sim: "~",
    approx: "≈", le: "≤", leq: "≤", ge: "≥", geq: "≥", ne: "≠", neq: "≠", propto: "∝",
    dots: "…", ldots: "…", cdots: "…",
  };

  const typed = (tex) =>
    tex
      .replace(/^\s*\\[([]|\\[)\]]\s*$/g, "")
      .replace(/\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}/g, "($1)/($2)")
      .replace(/\\sqrt\s*\{([^{}]*)\}/g, "√($1)")
      // An accent is written before its letter, and typed behind it.
      .replace(/\\(bar|hat|tilde)\s*\{?(\\[A-Za-z]+|[A-Za-z])\}?/g, "$2\\$1 ")
      .replace(/\\([A-Za-z]+) ?/g, (_, name) => SIGNS[name] ?? "")
      .replace(/[\\{}]/g, "")
      .replace(/\s+/g, " ")
      .trim();

  const NO_TEXT = "script, style, button, .headerlink, .onlyprint";

  Search.htmlToText = (html, anchor) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const article = page.querySelector("article");
    if (!article) return "";
    for (const part of article.querySelectorAll(NO_TEXT)) part.remove();
    for (const formula of article.querySelectorAll(".math"))
      formula.textContent = formula.localName === "div" ? " … " : typed(formula.textContent);
    const part = anchor ? article.querySelector(anchor) : null;
    return (part ?? article).textContent.replace(/\s+/g, " ");
  };
}
