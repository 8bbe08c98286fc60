// The canvas that one paints on, with a mouse, a pen, a finger or the keyboard.
"use strict";

const FINE = 8; // pixels of the sheet above the picture, which has the stripes and the brush, to one of the picture
const ARROWS = new Map([
  ["ArrowLeft", [-1, 0]],
  ["ArrowRight", [1, 0]],
  ["ArrowUp", [0, -1]],
  ["ArrowDown", [0, 1]],
]);
let easels = 0;

/** Diagonal stripes, light and dark: one of them is seen on any colour. */
function stripes() {
  const side = 32;
  const tile = el("canvas", { width: side, height: side });
  const pen = /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"));
  pen.fillStyle = "rgb(255 255 255 / 0.5)";
  pen.fillRect(0, 0, side, side);
  pen.strokeStyle = "rgb(30 30 40 / 0.6)";
  pen.lineWidth = side / 2.83; // as wide as the gap
  for (const x of [-side, 0, side]) {
    pen.moveTo(x - side / 2, side * 1.5);
    pen.lineTo(x + side * 1.5, -side / 2);
  }
  pen.stroke();
  return tile;
}

class Easel {
  /**
   * @param {Painting} painting
   * @param {() => Brush} brush
   * @param {{onStroke: () => void, onUndo: () => void}} listeners
   */
  constructor(painting, brush, { onStroke, onUndo }) {
    this.painting = painting;
    this.brush = brush;
    this.onStroke = onStroke;
    this.onUndo = onUndo;
    const { size } = painting;
    /** @type {Place} */
    this.place = { x: size / 2, y: size / 2 };
    this.down = false;
    this.seen = false; // the brush is shown
    this.canvas = el("canvas", { width: size, height: size, "aria-hidden": "true" });
    this.sheet = el("canvas", { width: size * FINE, height: size * FINE, "aria-hidden": "true" });
    this.stripes = stripes();
    const id = `easel-${++easels}`;
    this.board = el(
      "div",
      {
        class: "live-board",
        tabindex: 0,
        role: "application",
        "aria-label": "The picture to paint on",
        "aria-describedby": id,
        onpointerdown: (/** @type {PointerEvent} */ event) => this.pointerDown(event),
        onpointermove: (/** @type {PointerEvent} */ event) => this.pointerMove(event),
        onpointerup: () => this.lift(),
        onpointercancel: () => this.lift(),
        onpointerleave: () => this.look(false),
        onkeydown: (/** @type {KeyboardEvent} */ event) => this.keyDown(event),
        onkeyup: (/** @type {KeyboardEvent} */ event) => {
          if (event.key === " " || event.key === "Enter") this.lift();
        },
        onfocus: () => this.look(this.board.matches(":focus-visible")),
        onblur: () => {
          this.lift();
          this.look(false);
        },
      },
      this.canvas,
      this.sheet,
    );
    this.said = el("span", { class: "live-hidden", role: "status" });
    this.help = el(
      "p",
      { class: "live-help", id },
      "Paint with the mouse, a pen or a finger. With the keyboard: arrow keys move the brush, farther with Shift, and Space paints.",
    );
    this.element = el("div", { class: "live-easel" }, this.board, this.said, this.help);
    this.show();
  }

  /** @param {PointerEvent} event @returns {Place} */
  placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    const { size } = this.painting;
    return {
      x: ((event.clientX - box.left) / box.width) * size,
      y: ((event.clientY - box.top) / box.height) * size,
    };
  }

  /** @param {PointerEvent} event */
  pointerDown(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    event.preventDefault(); // of text that a finger would select
    this.board.focus({ preventScroll: true });
    this.board.setPointerCapture(event.pointerId); // a line goes on beyond the edge
    this.place = this.placeOf(event);
    this.press();
  }

  /** @param {PointerEvent} event */
  pointerMove(event) {
    if (!event.isPrimary) return;
    this.seen = event.pointerType !== "touch" || this.down;
    const between = event.getCoalescedEvents?.() ?? [];
    for (const one of this.down && between.length ? between : [event]) this.move(this.placeOf(one));
    this.show();
  }

  /** @param {KeyboardEvent} event */
  keyDown(event) {
    const arrow = ARROWS.get(event.key);
    const { size } = this.painting;
    if (arrow) {
      const far = event.shiftKey ? 8 : 2;
      const [x, y] = [this.place.x + far * arrow[0], this.place.y + far * arrow[1]];
      this.move({ x: Math.min(size - 1, Math.max(0, x)), y: Math.min(size - 1, Math.max(0, y)) });
    } else if (event.key === " " || event.key === "Enter") {
      if (!event.repeat) this.press();
    } else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      this.onUndo();
    } else return;
    event.preventDefault();
    this.seen = true;
    this.show();
    this.describe();
  }

  /** The brush comes down. */
  press() {
    this.painting.keep();
    this.down = true;
    this.painting.stroke(this.place, this.place, this.brush());
    this.show();
  }

  /** @param {Place} to */
  move(to) {
    if (this.down) this.painting.stroke(this.place, to, this.brush());
    this.place = to;
  }

  lift() {
    if (!this.down) return;
    this.down = false;
    this.show();
    this.onStroke();
  }

  /** @param {boolean} seen */
  look(seen) {
    this.seen = seen;
    this.show();
  }

  /** For who does not see it: where the brush is, and on what. */
  describe() {
    const { size, pixels, mask } = this.painting;
    const [column, row] = [Math.floor(this.place.x), Math.floor(this.place.y)];
    const i = row * size + column;
    const marked = mask[i] ? ", marked" : "";
    const colour = nameOf(pixels.subarray(4 * i, 4 * i + 3));
    this.said.textContent = `Row ${row + 1}, column ${column + 1}: ${colour}${marked}`;
  }

  show() {
    const { size, pixels } = this.painting;
    const shown = new ImageData(size, size);
    shown.data.set(pixels);
    /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d")).putImageData(
      shown,
      0,
      0,
    );
    const pen = /** @type {CanvasRenderingContext2D} */ (this.sheet.getContext("2d"));
    pen.clearRect(0, 0, this.sheet.width, this.sheet.height);
    this.showMask(pen);
    if (this.seen) this.showBrush(pen);
  }

  /** @param {CanvasRenderingContext2D} pen */
  showMask(pen) {
    const { size, cell, mask } = this.painting;
    const side = cell * FINE;
    const at = (/** @type {number} */ x, /** @type {number} */ y) =>
      x >= 0 && y >= 0 && x < size && y < size && mask[y * size + x];
    const edge = new Path2D();
    pen.fillStyle = /** @type {CanvasPattern} */ (pen.createPattern(this.stripes, "repeat"));
    for (let y = 0; y < size; y += cell)
      for (let x = 0; x < size; x += cell) {
        if (!at(x, y)) continue;
        const [left, top] = [x * FINE, y * FINE];
        pen.fillRect(left, top, side, side);
        for (const [open, x0, y0, x1, y1] of [
          [!at(x - 1, y), 0, 0, 0, side],
          [!at(x + cell, y), side, 0, side, side],
          [!at(x, y - 1), 0, 0, side, 0],
          [!at(x, y + cell), 0, side, side, side],
        ]) {
          if (!open) continue;
          edge.moveTo(left + Number(x0), top + Number(y0));
          edge.lineTo(left + Number(x1), top + Number(y1));
        }
      }
    this.twice(pen, edge);
  }

  /** @param {CanvasRenderingContext2D} pen */
  showBrush(pen) {
    const { width } = this.brush();
    const ring = new Path2D();
    const [x, y] = [this.place.x * FINE, this.place.y * FINE];
    ring.arc(x, y, Math.max(6, (width / 2) * FINE), 0, 2 * Math.PI);
    ring.moveTo(x - 4, y);
    ring.lineTo(x + 4, y);
    ring.moveTo(x, y - 4);
    ring.lineTo(x, y + 4);
    this.twice(pen, ring);
  }

  /** A dark line in a light one, which is seen on any colour. @param {CanvasRenderingContext2D} pen @param {Path2D} path */
  twice(pen, path) {
    pen.lineCap = "square";
    for (const [colour, width] of [
      ["white", 5],
      ["black", 2],
    ]) {
      pen.strokeStyle = String(colour);
      pen.lineWidth = Number(width);
      pen.stroke(path);
    }
  }
}
