"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { assertClose, load, readArray, readJson } = require("./engine.js");

const { FlowMatchEuler, Generator } = load(
  ["noise", "levels", "samplers", "flow_matching"],
  ["FlowMatchEuler", "Generator"],
);

test("noise levels, timesteps, x_0 and each step are Diffusers'", () => {
  const cases = readJson("cases");
  assert.ok(cases.length > 0);
  for (const [number, { config, steps, timesteps, sigmas }] of cases.entries()) {
    const what = `shift ${config.shift}, ${steps} steps`;
    const rows = (/** @type {string} */ part) => {
      const all = readArray(`${number}-${part}`);
      return (/** @type {number} */ i) => all.slice(64 * i, 64 * (i + 1));
    };
    const [latents, velocities, x0] = ["latents", "velocities", "x0"].map(rows);
    const scheduler = new FlowMatchEuler(config, steps);
    assertClose(scheduler.sigmas, sigmas, 1e-6, `${what}: noise levels`);
    assertClose(scheduler.timesteps, timesteps, 1e-3, `${what}: timesteps`);
    assertClose(new Generator(number).randn(64), latents(0), 1e-5, `${what}: the noise`);
    for (let i = 0; i < steps; i++) {
      const predicted = scheduler.predictX0(velocities(i), i, latents(i));
      assertClose(predicted, x0(i), 1e-5, `${what}: x_0 at ${i}`);
      const next = scheduler.step(velocities(i), i, latents(i));
      assert.ok(next instanceof Float32Array);
      assertClose(next, latents(i + 1), 1e-5, `${what}: step ${i}`);
    }
  }
});

test("what cannot be is refused in a sentence", () => {
  const config = { num_train_timesteps: 1000, shift: 3 };
  for (const steps of [0, -1, 1.5, NaN, 1001, "5"]) {
    const refused =
      /^Error: The number of steps is 1 to 1000 with this sampler, but it is [^\n]+\.$/;
    assert.throws(() => new FlowMatchEuler(config, steps), refused);
  }
  for (const shift of [0, -1, NaN, Infinity, undefined]) {
    const refused = /^Error: The shift is [^\n]+, but it is a number above 0\.$/;
    assert.throws(() => new FlowMatchEuler({ ...config, shift }, 5), refused);
  }
});
