"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { assertClose, load, readArray, readJson } = require("./engine.js");

const { Generator } = load(["noise"], ["Generator"]);

test("every seed and size, alone and in a stream, gives torch's numbers", () => {
  const cases = readJson("cases");
  assert.ok(cases.length > 0);
  for (const [i, [seed, sizes]] of cases.entries()) {
    const generator = new Generator(seed);
    const numbers = sizes.flatMap((/** @type {number} */ size) => [...generator.randn(size)]);
    assertClose(numbers, readArray(`noise-${i}`), 1e-6, `seed ${seed}, sizes ${sizes}`);
  }
});

test("what is no seed is refused in a sentence", () => {
  for (const seed of [-1, 2 ** 32, 0.5, NaN, "7", null]) {
    assert.throws(() => new Generator(seed), /whole number from 0 to 4294967295/);
  }
});
