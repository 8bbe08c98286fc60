// A word's map as light: the picture stays as it is where the map is high, and is dimmed where it is low.
"use strict";

const DIM = 0.15; // what is left of the light where a map is lowest, as in companion.attention.explorer

/**
 * A map stretched over its own range, from 0 to 1.
 * @param {Float32Array} map
 */
function stretched(map) {
  const low = map.reduce((a, b) => Math.min(a, b));
  const high = map.reduce((a, b) => Math.max(a, b));
  return map.map((value) => (value - low) / Math.max(high - low, 1e-8));
}

/**
 * A black veil to lay over the picture, the more opaque the lower the map.
 * @param {Float32Array} light a map from 0 to 1
 * @param {number} width
 */
function veil(light, width) {
  const pixels = new ImageData(width, light.length / width);
  light.forEach((value, i) => {
    pixels.data[4 * i + 3] = 255 * (1 - DIM) * (1 - value);
  });
  return pixels;
}

/**
 * Where a map is highest, and on how much of the picture it is above half of that.
 * @param {Float32Array} light a map from 0 to 1
 * @param {number} width
 */
function placeOfLight(light, width) {
  const height = light.length / width;
  const peak = light.indexOf(1);
  const row = ["upper", "", "lower"][Math.floor((3 * Math.floor(peak / width)) / height)];
  const column = ["left", "", "right"][Math.floor((3 * (peak % width)) / width)];
  const place = `${row} ${column}`.trim() || "middle";
  const share = Math.round((100 * light.filter((value) => value >= 0.5).length) / light.length);
  return `most in the ${place} part, and above half of that on ${share} % of the picture`;
}
