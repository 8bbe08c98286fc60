// The clear sheet above a painting: the stripes of the mask, and the brush.
"use strict";

const FINE = 8; // pixels of the sheet above the picture, which has the stripes and the brush, to one of the picture

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

class Sheet {
  /** @param {number} size of the picture */
  constructor(size) {
    this.canvas = el("canvas", { width: size * FINE, height: size * FINE, "aria-hidden": "true" });
    this.stripes = stripes();
  }

  /**
   * @param {Painting} painting
   * @param {{place: Place, width: number} | null} brush null where it is not shown
   */
  show(painting, brush) {
    const pen = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.showMask(pen, painting);
    if (brush) this.showBrush(pen, brush);
  }

  /**
   * @param {CanvasRenderingContext2D} pen
   * @param {Painting} painting
   */
  showMask(pen, { size, cell, mask }) {
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

  /**
   * @param {CanvasRenderingContext2D} pen
   * @param {{place: Place, width: number}} brush
   */
  showBrush(pen, { place, width }) {
    const ring = new Path2D();
    const [x, y] = [place.x * FINE, place.y * FINE];
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
