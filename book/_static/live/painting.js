// A picture that somebody paints on, and the mask that marks what is repainted of it. It knows nothing of the page.
"use strict";

/**
 * @typedef {{width: number, tool: "paint" | "mask", colour: Colour, erases: boolean}} Brush
 * @typedef {{x: number, y: number}} Place in pixels, from the upper left corner
 * @typedef {{pixels: Uint8ClampedArray, mask: Uint8Array, ground: Uint8ClampedArray}} Moment
 */

const MOST_UNDONE = 60;

class Painting {
  /**
   * @param {number} size
   * @param {number} cell pixels along a side of a latent: the mask acts on latents, so it is marked in these
   */
  constructor(size, cell) {
    this.size = size;
    this.cell = cell;
    this.pixels = new Uint8ClampedArray(4 * size * size).fill(255);
    this.mask = new Uint8Array(size * size);
    /** What was there before anybody painted; the eraser brings it back. */
    this.ground = this.pixels.slice();
    /** @type {Moment[]} */
    this.past = [];
  }

  /** How much of the picture is marked, from 0 to 1. */
  get marked() {
    return this.mask.reduce((sum, one) => sum + one, 0) / this.mask.length;
  }

  /** Keeps the moment, to come back to. */
  keep() {
    this.past.push({
      pixels: this.pixels.slice(),
      mask: this.mask.slice(),
      ground: this.ground, // never changed, only replaced
    });
    if (this.past.length > MOST_UNDONE) this.past.shift();
  }

  undo() {
    const moment = this.past.pop();
    if (moment) Object.assign(this, moment);
  }

  /** @param {Uint8ClampedArray} pixels RGBA */
  beginWith(pixels) {
    this.keep();
    this.ground = pixels.slice();
    this.pixels = pixels.slice();
    this.mask.fill(0);
  }

  /** @param {Colour} colour */
  beginPlain(colour) {
    this.beginWith(this.pixels.map((_, i) => (i % 4 === 3 ? 255 : colour[i % 4])));
  }

  /** @param {"paint" | "mask"} tool whose traces go */
  clear(tool) {
    this.keep();
    if (tool === "mask") this.mask.fill(0);
    else this.pixels.set(this.ground);
  }

  /**
   * A round brush drawn from one place to another.
   * @param {Place} from
   * @param {Place} to
   * @param {Brush} brush
   */
  stroke(from, to, brush) {
    // A brush of an even number of pixels has its middle between them.
    const snap = (/** @type {number} */ v) =>
      brush.width % 2 ? Math.floor(v) + 0.5 : Math.round(v);
    const [x, y] = [snap(from.x), snap(from.y)];
    const [dx, dy] = [snap(to.x) - x, snap(to.y) - y];
    const length2 = dx * dx + dy * dy || 1;
    for (let i = 0; i < this.mask.length; i++) {
      const px = (i % this.size) + 0.5 - x;
      const py = Math.floor(i / this.size) + 0.5 - y;
      const along = Math.min(1, Math.max(0, (px * dx + py * dy) / length2));
      if (Math.hypot(px - along * dx, py - along * dy) <= brush.width / 2) this.touch(i, brush);
    }
  }

  /**
   * @param {number} i the pixel's number
   * @param {Brush} brush
   */
  touch(i, { tool, colour, erases }) {
    if (tool === "paint") {
      const at = 4 * i;
      this.pixels.set(erases ? this.ground.subarray(at, at + 3) : colour, at);
      return;
    }
    const { size, cell } = this;
    const [left, top] = [i % size, Math.floor(i / size)].map((v) => v - (v % cell));
    for (let row = top; row < top + cell; row++)
      this.mask.fill(erases ? 0 : 1, row * size + left, row * size + left + cell);
  }
}

/** @param {string} text a data: address */
function bytesOf(text) {
  const base64 = text.slice(text.indexOf(",") + 1);
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

/**
 * The pixels that a figure brings along: red, green and blue.
 * @param {string} text
 */
function embeddedPixels(text) {
  const rgb = bytesOf(text);
  return Uint8ClampedArray.from({ length: (rgb.length / 3) * 4 }, (_, i) =>
    i % 4 === 3 ? 255 : rgb[Math.floor(i / 4) * 3 + (i % 4)],
  );
}

/**
 * The mask that a figure brings along, a bit a pixel. A latent is repainted where its first pixel says so.
 * @param {string} text
 * @param {Painting} painting
 */
function embeddedMask(text, { size, cell }) {
  const bits = bytesOf(text);
  return Uint8Array.from({ length: size * size }, (_, i) => {
    const [x, y] = [i % size, Math.floor(i / size)].map((v) => v - (v % cell));
    const first = y * size + x;
    return (bits[first >> 3] >> (7 - (first & 7))) & 1;
  });
}
