"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { assertClose, load, read, readArray, readJson } = require("./engine.js");

const { StableDiffusion, padded, roomNeeded, rowsOf } = load(readJson("scripts"), [
  "StableDiffusion",
  "padded",
  "roomNeeded",
  "rowsOf",
]);
const { files } = require("./files.js");
const model = new StableDiffusion(files(read));
const { memory, textEncoder, unet, vae } = model;
const latents = readArray("latents");

/** Differences count against the size of the numbers.
 * @param {ArrayLike<number>} actual @param {ArrayLike<number>} expected @param {string} what */
function assertEqual(actual, expected, what) {
  const largest = Array.from(expected).reduce((most, x) => Math.max(most, Math.abs(x)), 1);
  assertClose(actual, expected, 1e-5 * largest, what);
}

const ids = readJson("prompts").flatMap((/** @type {string} */ prompt) => [
  ...padded(model.tokenizer.encode(prompt)),
]);
const embeddings = textEncoder.encode(ids);

test("the text encoder", () => {
  const found = memory.floats.slice(
    embeddings.at / 4,
    embeddings.at / 4 + rowsOf(embeddings) * embeddings.channels,
  );
  assertEqual(found, readArray("embeddings"), "embeddings");
});

test("the UNet, for several texts at once and at every end of time", () => {
  const context = unet.listen(embeddings);
  for (const t of [0, 601, 999]) {
    const expected = readArray(`noise-${t}`);
    const found = unet
      .predictNoise(latents, t, context)
      .flatMap((/** @type {Float32Array} */ x) => [...x]);
    assertEqual(found, expected, `t = ${t}`);
  }
});

test("the VAE, both ways", () => {
  assertEqual(vae.decode(latents, model.side), readArray("decoded"), "decoded");
  const { mean, std } = vae.encode(readArray("pixels"), model.size);
  assertEqual(mean, readArray("mean"), "mean");
  assertEqual(std, readArray("std"), "std");
});

test("a call takes no memory that it does not give back", () => {
  const before = memory.top;
  const context = unet.listen(embeddings);
  const kept = memory.top;
  unet.predictNoise(latents, 500, context);
  vae.decode(latents, model.side);
  vae.encode(readArray("pixels"), model.size);
  assert.equal(memory.top, kept);
  memory.top = before;
});

test("weights that do not take what comes in are named, not read beyond their end", () => {
  const narrow = memory.tensor(1, 8, 8, 8);
  for (const layer of ["linear", "convolve", "downsample"]) {
    const name = layer === "linear" ? "time_embedding.linear_2" : "mid_block.resnets.0.conv1";
    assert.throws(() => unet.layers[layer](narrow, name), /unet\..* has another size/);
  }
});

test("the scratch is large enough for the heads of a text encoder wider than the UNet", () => {
  assert.ok(roomNeeded([32, 8, 1024], 77) >= 80 * (2 * 1024 + 32));
});
