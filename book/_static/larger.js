// Every picture of the text opens larger, in a dialog: with a click, a touch, or the Enter key.
// Without scripts its link leads to the picture itself.
"use strict";
{
  const dialog = document.createElement("dialog");
  dialog.className = "larger";
  dialog.innerHTML =
    '<form method="dialog"><button aria-label="Close the picture">×</button></form><div></div>';
  const [form, room] = dialog.children;
  // A click beside the picture closes it, as Escape does.
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target === room) dialog.close();
  });
  const open = (picture, width, name) => {
    const most = 0.94 * window.innerWidth;
    // On a phone larger than the screen: a finger moves it about.
    picture.style.width = `${Math.max(Math.min(2 * width, most), Math.min(width, 2.5 * most))}px`;
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
    open(picture, small.naturalWidth, small.alt);
  });
  // The pictures behind a slider are fetched when all else is there, and before a reader moves it.
  window.addEventListener("load", () => {
    for (const picture of document.querySelectorAll('[class^="companion-"] img')) {
      picture.loading = "eager";
    }
  });
}
