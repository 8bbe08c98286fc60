"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { assertClose, load, readArray, readJson } = require("./engine.js");

const { Generator, makeScheduler } = load(
  ["noise", "levels", "samplers", "schedulers"],
  ["Generator", "makeScheduler"],
);
const CLEAN = Float32Array.from({ length: 64 }, (_, i) => -1.5 + (3 * i) / 63);

test("timesteps, noise, x_0 and each step are Diffusers'", () => {
  const cases = readJson("cases");
  assert.ok(cases.length > 0);
  for (const { name, steps, start, seed, config, timesteps } of cases) {
    const karras = config.use_karras_sigmas ? " Karras" : "";
    const what = `${name}${karras}, ${steps} steps from ${start ?? 0}`;
    const rows = (/** @type {string} */ part) => {
      const all = readArray(`${seed}-${part}`);
      return (/** @type {number} */ i) => all.slice(64 * i, 64 * (i + 1));
    };
    const [latents, residuals, x0] = ["latents", "residuals", "x0"].map(rows);
    const scheduler = makeScheduler(name, config, steps);
    assert.deepEqual(scheduler.timesteps, timesteps, what);
    const generator = new Generator(seed);
    let begin = generator.randn(64);
    if (start !== null) {
      scheduler.startAt(start);
      begin = scheduler.addNoise(CLEAN, begin, timesteps[start]);
    }
    assertClose(begin, latents(0), 1e-5, `${what}: where it begins`);
    for (let i = start ?? 0; i < steps; i++) {
      const row = i - (start ?? 0);
      const predicted = scheduler.predictX0(residuals(row), i, latents(row));
      assertClose(predicted, x0(row), 1e-5, `${what}: x_0 at ${i}`);
      const next = scheduler.step(residuals(row), i, latents(row), generator);
      assert.ok(next instanceof Float32Array);
      assertClose(next, latents(row + 1), 1e-5, `${what}: step ${i}`);
    }
  }
});
