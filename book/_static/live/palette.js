// The colours to paint with: the backgrounds of the scenes (src/companion/scenes/palette.toml), and a few more.
"use strict";

/** @typedef {[number, number, number]} Colour red, green, blue */

/** @type {Record<string, Colour>} */
const PALETTE = {
  red: [214, 48, 49],
  orange: [243, 140, 38],
  yellow: [250, 212, 60],
  green: [64, 160, 72],
  blue: [52, 110, 214],
  purple: [126, 66, 180],
  pink: [246, 150, 190],
  brown: [121, 78, 48],
  gray: [134, 138, 142],
  black: [22, 22, 26],
  white: [244, 244, 244],
  beige: [240, 208, 166],
  "light green": [158, 206, 98],
  turquoise: [64, 176, 176],
  "light blue": [142, 198, 240],
  "dark blue": [30, 48, 112],
};

/** @param {Colour} colour */
const css = (colour) => `rgb(${colour.join(" ")})`;

/**
 * The name of the colour that is nearest.
 * @param {ArrayLike<number>} colour
 */
function nameOf(colour) {
  const away = (/** @type {Colour} */ other) =>
    other.reduce((sum, value, i) => sum + (value - colour[i]) ** 2, 0);
  return Object.entries(PALETTE).reduce((a, b) => (away(b[1]) < away(a[1]) ? b : a))[0];
}
