"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { assertClose, load, readArray, readJson } = require("./engine.js");

const { PALETTE, nameOf, Painting, embeddedPixels, embeddedMask, stretched, placeOfLight } = load(
  ["../palette", "../painting", "../heat"],
  ["PALETTE", "nameOf", "Painting", "embeddedPixels", "embeddedMask", "stretched", "placeOfLight"],
);
const YELLOW = { tool: "paint", width: 4, colour: PALETTE.yellow, erases: false };
const MASK = { ...YELLOW, tool: "mask" };
const middle = { x: 32, y: 32 };

/** The colour of a pixel. @param {any} painting @param {number} x @param {number} y */
const at = ({ pixels }, x, y) => [...pixels.slice(4 * (64 * y + x), 4 * (64 * y + x) + 3)];

/** On blue. */
function begun() {
  const painting = new Painting(64, 4);
  painting.beginPlain(PALETTE.blue);
  return painting;
}

test("the palette begins with the backgrounds of the scenes", () => {
  const scenes = readJson("palette");
  const names = Object.keys(scenes);
  assert.deepEqual(Object.keys(PALETTE).slice(0, names.length), names);
  for (const name of names) assert.deepEqual(PALETTE[name], scenes[name]);
});

test("a colour is called by the nearest name", () => {
  assert.equal(nameOf([250, 212, 60]), "yellow");
  assert.equal(nameOf([60, 100, 220]), "blue");
});

test("a brush paints a disc as wide as it says", () => {
  const painting = begun();
  painting.stroke(middle, middle, YELLOW);
  assert.deepEqual(at(painting, 30, 31), PALETTE.yellow);
  assert.deepEqual(at(painting, 33, 31), PALETTE.yellow);
  for (const [x, y] of [
    [29, 31],
    [34, 31],
    [30, 30], // its corner is round
  ])
    assert.deepEqual(at(painting, x, y), PALETTE.blue);
});

test("the thinnest brush draws a line without gaps", () => {
  const painting = begun();
  painting.stroke({ x: 3, y: 5 }, { x: 50, y: 52 }, { ...YELLOW, width: 1 });
  for (let i = 0; i <= 47; i++) assert.deepEqual(at(painting, 3 + i, 5 + i), PALETTE.yellow);
});

test("a stroke may leave the picture", () => {
  const painting = begun();
  painting.stroke({ x: -20, y: 1 }, { x: 90, y: 1 }, YELLOW);
  assert.deepEqual(at(painting, 0, 0), PALETTE.yellow);
  assert.deepEqual(at(painting, 63, 0), PALETTE.yellow);
  assert.deepEqual(at(painting, 0, 3), PALETTE.blue);
});

test("the mask is marked in whole latents", () => {
  const painting = begun();
  painting.stroke({ x: 9.5, y: 9.5 }, { x: 9.5, y: 9.5 }, { ...MASK, width: 1 });
  assert.equal(painting.marked, 16 / 4096);
  for (const [x, y] of [
    [8, 8],
    [11, 11],
  ])
    assert.equal(painting.mask[64 * y + x], 1);
  painting.stroke({ x: 9.5, y: 9.5 }, { x: 9.5, y: 9.5 }, { ...MASK, erases: true });
  assert.equal(painting.marked, 0);
  assert.deepEqual(at(painting, 9, 9), PALETTE.blue);
});

test("the eraser brings back what it began with", () => {
  const painting = begun();
  painting.stroke(middle, middle, YELLOW);
  painting.stroke(middle, middle, { ...YELLOW, width: 16, erases: true });
  assert.deepEqual(painting.pixels, painting.ground);
});

test("undo goes back over strokes, the mask and another beginning", () => {
  const painting = begun();
  const before = painting.pixels.slice();
  painting.keep();
  painting.stroke(middle, middle, YELLOW);
  painting.keep();
  painting.stroke(middle, middle, MASK);
  painting.beginPlain(PALETTE.red);
  assert.equal(painting.marked, 0);
  painting.undo();
  assert.ok(painting.marked > 0);
  assert.deepEqual(painting.ground, before);
  painting.undo();
  assert.equal(painting.marked, 0);
  assert.deepEqual(at(painting, 32, 32), PALETTE.yellow);
  painting.undo();
  assert.deepEqual(painting.pixels, before);
});

test("a figure brings its picture and its mask along", () => {
  const { start, mask } = readJson("figure");
  const pixels = embeddedPixels(start);
  assert.deepEqual(
    [...pixels.filter((/** @type {number} */ _, /** @type {number} */ i) => i % 4 < 3)],
    readJson("pixels"),
  );
  assert.ok(
    pixels.every((/** @type {number} */ v, /** @type {number} */ i) => i % 4 < 3 || v === 255),
  );
  assert.deepEqual([...embeddedMask(mask, begun())], readJson("repainted"));
});

test("the light of a map is that of companion.attention", () => {
  assertClose(stretched(readArray("map")), readArray("light"), 1e-6, "light");
});

test("where a map is highest is said in words", () => {
  const map = new Float32Array(64 * 64);
  map[64 * 60 + 2] = 3;
  map[64 * 60 + 3] = 2;
  const said = placeOfLight(stretched(map), 64);
  assert.equal(said, "most in the lower left part, and above half of that on 0 % of the picture");
});
