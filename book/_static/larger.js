// Every picture and every drawing of the text opens larger, in a dialog: with a click, a touch, or
// the Enter key. Without scripts a picture's link leads to the picture itself.
"use strict";
{
  const dialog = document.createElement("dialog");
  dialog.className = "larger";
  dialog.innerHTML =
    '<form method="dialog"><button aria-label="Close the picture">×</button></form>' +
    '<div tabindex="0" autofocus></div>'; // the arrow keys move a large picture
  const room = dialog.lastElementChild;
  // Escape closes a dialog, but the theme keeps that key from browsers for its search.
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "Escape") dialog.close();
  });
  // So does a click beside the picture.
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target === room) dialog.close();
  });
  const open = (picture, width, name) => {
    const most = 0.94 * window.innerWidth;
    const larger = Math.min(Math.max(2 * width, 480), most);
    // On a phone larger than the screen: a finger moves it about.
    picture.style.width = `${Math.max(larger, Math.min(width, 2.5 * most))}px`;
    if (larger > 2 * width) picture.style.imageRendering = "pixelated";
    picture.style.maxWidth = "none";
    room.replaceChildren(picture);
    dialog.setAttribute("aria-label", name || "Picture");
    dialog.isConnected || document.body.append(dialog);
    dialog.showModal();
    room.scrollTo(0, 0);
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a.larger");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const small = link.querySelector("img");
    const picture = document.createElement("img");
    picture.src = link.href;
    picture.alt = small.alt;
    event.preventDefault();
    open(picture, Number(small.getAttribute("width")) || small.naturalWidth, small.alt);
  });

  // A drawing lies in the page. It moves into the dialog and back: a copy would have its ids twice.
  for (const drawing of document.querySelectorAll(".companion-diagram > svg")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "larger";
    const name = drawing.getAttribute("aria-label") ?? drawing.querySelector("title")?.textContent;
    // Its name is the drawing's: one of its own would hide the words that stand on it.
    if (!name) button.setAttribute("aria-label", "Drawing");
    const style = drawing.getAttribute("style") ?? "";
    drawing.replaceWith(button);
    button.append(drawing);
    button.addEventListener("click", () => {
      button.style.minHeight = `${button.offsetHeight}px`;
      open(drawing, 1.2 * drawing.viewBox.baseVal.width, name);
      dialog.addEventListener(
        "close",
        () => {
          drawing.setAttribute("style", style);
          button.style.minHeight = "";
          button.append(drawing);
        },
        { once: true },
      );
    });
  }

  // The pictures behind a slider are fetched when all else is there, and before a reader moves it.
  window.addEventListener("load", () => {
    for (const picture of document.querySelectorAll('[class^="companion-"] img')) {
      picture.loading = "eager";
    }
  });
}
