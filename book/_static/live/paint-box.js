// What one paints with: the tool, the colour, the brush and the eraser.
"use strict";

const BRUSHES = [1, 2, 4, 8, 16];

/**
 * @param {Painting} painting
 * @param {string} tool that it opens with
 * @param {{onTool: () => void, onClear: () => void, onUndo: () => void}} listeners
 */
function paintBox(painting, tool, { onTool, onClear, onUndo }) {
  const tools = new Picks("Tool", { paint: "Paint", mask: "Mask" }, tool, {
    className: "switch",
    onPick: () => changed(),
  });
  const swatches = Object.entries(PALETTE).map(([name, colour]) => [
    name,
    el("span", { class: "live-swatch", style: `background: ${css(colour)}` }),
  ]);
  const colours = new Picks("Colour", Object.fromEntries(swatches), "blue", {
    className: "swatches",
    said: (name) => name,
    onPick: () => erase(false),
  });
  // The dots are as large beside each other as the brushes are.
  const dots = BRUSHES.map((width) => [
    width,
    el("span", { class: "live-tip", style: `--width: ${width}` }),
  ]);
  const widths = new Picks("Brush", Object.fromEntries(dots), "8", {
    className: "tips",
    said: (width) => (width === "1" ? "1 pixel wide" : `${width} pixels wide`),
  });
  const about = el(
    "p",
    { class: "live-remark" },
    "What you mark is repainted, and the rest stays. The mask acts on latents, so it is marked in squares of ",
    `${painting.cell}×${painting.cell} pixels.`,
  );
  const eraser = el(
    "button",
    { type: "button", "aria-pressed": "false", onclick: () => erase(!erases()) },
    "Eraser",
  );
  const clear = el("button", { type: "button", onclick: onClear }, "Clear");
  const undo = el("button", { type: "button", onclick: onUndo }, "Undo");
  const erases = () => eraser.getAttribute("aria-pressed") === "true";
  const erase = (/** @type {boolean} */ on) => eraser.setAttribute("aria-pressed", String(on));
  const changed = () => {
    const masks = tools.value === "mask";
    erase(false);
    colours.element.hidden = masks;
    about.hidden = !masks;
    clear.setAttribute("aria-label", masks ? "Clear the mask" : "Clear the paint");
    onTool();
  };
  changed();
  return {
    element: el(
      "div",
      { class: "live-box" },
      el("div", { class: "live-buttons" }, tools.element, undo, clear),
      colours.element,
      about,
      el("div", { class: "live-buttons" }, widths.element, eraser),
    ),
    /** @returns {Brush} */
    brush: () => ({
      tool: tools.value === "mask" ? "mask" : "paint",
      width: Number(widths.value),
      colour: PALETTE[colours.value],
      erases: erases(),
    }),
    /** @param {boolean} can */
    canUndo: (can) => {
      undo.setAttribute("aria-disabled", String(!can)); // disabled, it would lose the focus
    },
  };
}
