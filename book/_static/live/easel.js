// The canvas that one paints on, with a mouse, a pen, a finger or the keyboard.
"use strict";

const ARROWS = new Map([
  ["ArrowLeft", [-1, 0]],
  ["ArrowRight", [1, 0]],
  ["ArrowUp", [0, -1]],
  ["ArrowDown", [0, 1]],
]);
let easels = 0;

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
    this.sheet = new Sheet(size);
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
      this.sheet.canvas,
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

  /** The nearest place that is on the picture. @param {Place} place @returns {Place} */
  inside({ x, y }) {
    const last = this.painting.size - 1;
    return { x: Math.min(last, Math.max(0, x)), y: Math.min(last, Math.max(0, y)) };
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
    if (arrow) {
      const far = event.shiftKey ? 8 : 2;
      const [x, y] = [this.place.x + far * arrow[0], this.place.y + far * arrow[1]];
      this.move(this.inside({ x, y }));
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
    this.place = this.inside(this.place); // a line may have gone on beyond the edge
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
    const { width } = this.brush();
    this.sheet.show(this.painting, this.seen ? { place: this.place, width } : null);
  }
}
