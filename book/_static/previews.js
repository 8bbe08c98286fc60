// What a term means, or which paper a citation leads to: shown while the pointer or the focus rests on the link.
// The text is the link's title, which a browser without scripts shows by itself.
document.addEventListener("DOMContentLoaded", () => {
  const preview = document.createElement("div");
  preview.id = "preview";
  preview.setAttribute("role", "tooltip");
  preview.hidden = true;
  document.body.append(preview);

  const hide = () => {
    preview.hidden = true;
  };
  const show = (/** @type {HTMLElement} */ link) => {
    preview.textContent = link.dataset.preview ?? "";
    preview.hidden = false;
    const [line] = link.getClientRects(); // a link may run over two lines
    const widest = document.documentElement.clientWidth - preview.offsetWidth - 8;
    const below = line.bottom + 6 + preview.offsetHeight < window.innerHeight;
    preview.style.left = `${Math.max(8, Math.min(line.left, widest)) + window.scrollX}px`;
    preview.style.top = `${(below ? line.bottom + 6 : line.top - preview.offsetHeight - 6) + window.scrollY}px`;
  };

  /** @type {NodeListOf<HTMLElement>} */
  const links = document.querySelectorAll("a.term[title], a.paper[title]");
  for (const link of links) {
    link.dataset.preview = link.title;
    link.removeAttribute("title");
    link.setAttribute("aria-describedby", preview.id);
    link.addEventListener("mouseenter", () => show(link));
    link.addEventListener("focus", () => show(link));
    link.addEventListener("mouseleave", hide);
    link.addEventListener("blur", hide);
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
});
