// Wires every explorer that is not wired yet, so that it needs no names and may run many times.
for (const figure of document.querySelectorAll(".companion-explorer:not(.wired)")) {
  figure.classList.add("wired");
  const { width, height, labels } = JSON.parse(figure.dataset.maps);
  const buttons = [...figure.querySelectorAll("button")];
  const canvas = figure.querySelector("canvas");
  const slider = figure.querySelector("input");
  const status = figure.querySelector("[role=status]");
  const sheet = new Image();
  const rows = ["upper", "", "lower"];
  const columns = ["left", "", "right"];
  let pinned = -1;
  let visited = -1; // under the mouse, or reached with the keyboard
  let drawn = "";

  // Where a map is highest, and on how much of the picture it is above half of that.
  const describe = (veil) => {
    const opaque = [...Array(width * height).keys()].map((i) => veil[4 * i + 3]);
    const lightest = Math.min(...opaque);
    const half = (lightest + Math.max(...opaque)) / 2;
    const peak = opaque.indexOf(lightest);
    const row = rows[Math.floor((3 * Math.floor(peak / width)) / height)];
    const column = columns[Math.floor((3 * (peak % width)) / width)];
    const place = `${row} ${column}`.trim() || "middle";
    const share = Math.round((100 * opaque.filter((a) => a <= half).length) / opaque.length);
    return `highest in the ${place} part, above half on ${share} % of the picture`;
  };

  const show = () => {
    const word = visited >= 0 ? visited : pinned;
    const step = Number(slider.value);
    if (drawn === `${word} ${step} ${pinned}`) return;
    drawn = `${word} ${step} ${pinned}`;
    buttons.forEach((button, i) => {
      button.classList.toggle("shown", i === word);
      button.setAttribute("aria-pressed", String(i === pinned));
    });
    canvas.classList.toggle("shown", word >= 0);
    slider.setAttribute("aria-valuetext", labels[step]);
    figure.querySelector(".step").textContent = labels[step];
    if (word < 0) {
      status.textContent = "Point at a word, tap it or tab to it.";
      return;
    }
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.clearRect(0, 0, width, height);
    pen.drawImage(sheet, step * width, word * height, width, height, 0, 0, width, height);
    const found = describe(pen.getImageData(0, 0, width, height).data);
    status.textContent = `“${buttons[word].textContent}”, ${labels[step]}: ${found}.`;
  };

  const visit = (word) => {
    visited = word;
    show();
  };
  buttons.forEach((button, i) => {
    button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && visit(i));
    button.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && visit(-1));
    button.addEventListener("focus", () => button.matches(":focus-visible") && visit(i));
    button.addEventListener("blur", () => visit(-1));
    button.addEventListener("click", () => {
      pinned = pinned === i ? -1 : i;
      show();
    });
  });
  slider.addEventListener("input", show);
  sheet.addEventListener("load", () => {
    canvas.width = width;
    canvas.height = height;
    figure.querySelector(".still").hidden = true;
    figure.querySelector(".explore").hidden = false;
    show();
  });
  sheet.src = figure.dataset.sprite;
}
