"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { assertClose, load, read, readArray, readJson } = require("./engine.js");
const { files } = require("./files.js");

const { made } = load(readJson("scripts"), ["made"]);
const model = made(files(read));
const { memory, textEncoder, transformer, vae } = model;
const latents = readArray("latents");

/** Differences count against the size of the numbers.
 * @param {ArrayLike<number>} actual @param {ArrayLike<number>} expected @param {string} what */
function assertEqual(actual, expected, what) {
  const largest = Array.from(expected).reduce((most, x) => Math.max(most, Math.abs(x)), 1);
  assertClose(actual, expected, 1e-5 * largest, what);
}

/** @param {any} x */
const numbersOf = ({ at, n, height, width, channels }) =>
  memory.floats.slice(at / 4, at / 4 + n * height * width * channels);

const ids = readJson("prompts").flatMap((/** @type {string} */ negativePrompt) =>
  model.ids({ negativePrompt, prompt: "", guidance: 2 }).slice(0, model.mostTokens),
);
const texts = textEncoder.read(ids, model.mostTokens);

test("what the two text encoders say, token by token and of the whole", () => {
  assertEqual(numbersOf(texts.words), readArray("words"), "words");
  assertEqual(numbersOf(texts.pooled), readArray("pooled"), "pooled");
});

test("the transformer, for several texts at once and at every end of time", () => {
  const heard = transformer.listen(texts);
  for (const t of readJson("timesteps")) {
    const found = transformer
      .predictVelocity(latents, t, heard)
      .flatMap((/** @type {Float32Array} */ x) => [...x]);
    assertEqual(found, readArray(`velocity-${t}`), `t = ${t}`);
  }
});

test("its VAE, with a shift of its own", () => {
  assertEqual(vae.decode(latents, model.side), readArray("decoded"), "decoded");
});

test("a call takes no memory that it does not give back", () => {
  const heard = transformer.listen(texts);
  const before = memory.top;
  transformer.predictVelocity(latents, 500, heard);
  assert.equal(memory.top, before);
});
