"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { load, readJson } = require("./engine.js");

const { Generator, firstStep, makeScheduler } = load(
  ["noise", "levels", "samplers", "schedulers"],
  ["Generator", "firstStep", "makeScheduler"],
);
const NAMES = ["ddpm", "ddim", "unipc", "dpm++2m"];
const config = {
  num_train_timesteps: 1000,
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  steps_offset: 1,
};

test("strength skips as many steps as in Diffusers, and all of them are refused", () => {
  for (const [steps, strength, left] of readJson("firsts")) {
    const what = `${steps} steps, strength ${strength}`;
    if (left > 0) assert.equal(firstStep(steps, strength), steps - left, what);
    else assert.throws(() => firstStep(steps, strength), /is no step: take more steps/, what);
  }
  for (const strength of [-0.5, 1.5, NaN]) assert.throws(() => firstStep(10, strength));
});

test("every number of steps up to 100 ends, and ends finite", () => {
  const noise = new Generator(0).randn(64);
  for (const name of NAMES) {
    for (const use_karras_sigmas of [false, true]) {
      for (let steps = 1; steps <= 100; steps++) {
        const scheduler = makeScheduler(name, { ...config, use_karras_sigmas }, steps);
        const generator = new Generator(steps);
        let latents = noise;
        for (let i = 0; i < steps; i++) latents = scheduler.step(noise, i, latents, generator);
        assert.ok(latents.every(Number.isFinite), `${name}, ${steps} steps`);
      }
    }
  }
});

test("a scheduler that is used again gives the same again", () => {
  const noise = new Generator(0).randn(64);
  for (const name of NAMES) {
    const scheduler = makeScheduler(name, config, 6);
    const walk = (/** @type {number} */ start) => {
      scheduler.startAt(start);
      const generator = new Generator(1);
      let latents = noise;
      for (let i = start; i < 6; i++) {
        const residual = latents.map((/** @type {number} */ x) => Math.tanh(x + i));
        latents = scheduler.step(residual, i, latents, generator);
      }
      return latents;
    };
    const first = walk(0);
    assert.notDeepEqual(walk(2), first, name);
    assert.deepEqual(walk(0), first, name);
  }
});

test("what cannot be is refused in a sentence", () => {
  for (const name of NAMES) {
    for (const steps of [0, -1, 1.5, NaN, 1000, 1001, "5"]) {
      const refused = /The number of steps is 1 to 999 with this sampler, but it is/;
      assert.throws(() => makeScheduler(name, config, steps), refused, `${name} ${steps}`);
    }
    makeScheduler(name, config, 999);
    assert.throws(() => makeScheduler(name, config, 5).startAt(5), /but no step 5/);
    assert.throws(() => makeScheduler(name, config, 5).startAt(-1), /but no step -1/);
  }
  assert.throws(() => makeScheduler("euler", config, 5), /no sampler "euler"; choose one of ddpm,/);
  assert.throws(() => makeScheduler("ddim", config, 5).addNoise([], [], 999), /timestep 999/);
  for (const changed of [
    { beta_schedule: "squaredcos_cap_v2" },
    { prediction_type: "v_prediction" },
    { variance_type: "fixed_large" },
    { thresholding: true },
    { rescale_betas_zero_snr: true },
    { trained_betas: [0.1] },
  ]) {
    const [key] = Object.keys(changed);
    assert.throws(() => makeScheduler("ddim", { ...config, ...changed }, 5), new RegExp(key));
  }
});
