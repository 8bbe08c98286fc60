// Before a page is printed: its folds open, its colours are those of the light theme, and of each
// slider the first picture, the last, and four between them are chosen. Afterwards all is as before.
// tools/make_pdf.py does the same for the whole book.
"use strict";
{
  const undo = [];
  window.addEventListener("beforeprint", () => {
    const theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    undo.push(() => {
      document.documentElement.dataset.theme = theme;
    });
    for (const fold of document.querySelectorAll("article details:not([open])")) {
      fold.open = true;
      undo.push(() => {
        fold.open = false;
      });
    }
    // Short code stays on one page; longer code may go over two.
    for (const code of document.querySelectorAll("article pre")) {
      if (code.textContent.trim().split("\n").length <= 24) {
        (code.closest(".cell_input") ?? code).classList.add("whole");
      }
    }
    for (const slider of document.querySelectorAll(".companion-scrubber")) {
      const frames = slider.querySelectorAll(".frame");
      const last = Math.min(frames.length, 6) - 1;
      for (let i = 0; i <= last; i++) {
        frames[Math.round((i * (frames.length - 1)) / Math.max(last, 1))].classList.add("printed");
      }
    }
  });
  window.addEventListener("afterprint", () => {
    while (undo.length) undo.pop()();
  });
}
