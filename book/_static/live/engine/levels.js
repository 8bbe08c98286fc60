// Where the steps of a sampler begin, and how noisy the latents are there.
"use strict";

/**
 * What a scheduler_config.json of Diffusers says, as far as it matters here.
 * @typedef {object} SchedulerConfig
 * @property {number} num_train_timesteps
 * @property {number} beta_start
 * @property {number} beta_end
 * @property {string} beta_schedule
 * @property {string} [prediction_type]
 * @property {string} [variance_type]
 * @property {number} [steps_offset]
 * @property {boolean} [set_alpha_to_one]
 * @property {boolean} [thresholding]
 * @property {boolean} [rescale_betas_zero_snr]
 * @property {boolean} [use_karras_sigmas] of DPM++ 2M and UniPC
 */

/**
 * ᾱ_t, the product of all 1 - β up to t (Ho et al. 2020, equation 4), rounded to float32 where torch
 * rounds.
 * @param {SchedulerConfig} config
 */
function alphasCumprod(config) {
  const { num_train_timesteps: total, beta_schedule: schedule } = config;
  const power = schedule === "scaled_linear" ? 2 : 1; // its square roots rise evenly
  const start = Math.fround(config.beta_start ** (1 / power));
  const end = Math.fround(config.beta_end ** (1 / power));
  const step = Math.fround(Math.fround(end - start) / (total - 1));
  let product = 1;
  return Float32Array.from({ length: total }, (_, t) => {
    const rises = t < Math.floor(total / 2); // torch.linspace counts from both ends
    const root = Math.fround(rises ? start + step * t : end - step * (total - 1 - t));
    product *= Math.fround(1 - Math.fround(root ** power));
    return product;
  });
}

/**
 * Where steps begin, from noisy to clean, evenly spaced: Lin et al. 2024, table 2, "leading" and
 * "linspace".
 * @param {"leading" | "linspace"} spacing
 * @param {number} total
 * @param {number} numSteps
 * @param {number} offset of "leading"
 */
function spacedTimesteps(spacing, total, numSteps, offset) {
  return Array.from({ length: numSteps }, (_, i) => {
    const left = numSteps - i;
    if (spacing === "leading") return (left - 1) * Math.floor(total / numSteps) + offset;
    // Also the end of the last step, 0, is one of the points here.
    return roundHalfEven(left * ((total - 1) / numSteps));
  });
}

/** As numpy rounds: a half goes to the even neighbour. @param {number} x */
function roundHalfEven(x) {
  const below = Math.floor(x);
  return x - below === 0.5 ? below + (below % 2) : Math.round(x);
}

/**
 * Karras et al. 2022, equation 5 with ρ = 7: many steps where little noise is left. Their σ is
 * √((1 - ᾱ) / ᾱ).
 * @param {Float32Array} table of ᾱ
 * @param {number} numSteps
 */
function karrasLevels(table, numSteps) {
  const sigmas = Array.from(table, (alphaBar) => Math.fround(Math.sqrt((1 - alphaBar) / alphaBar)));
  const least = sigmas[0] ** (1 / 7);
  const most = sigmas[sigmas.length - 1] ** (1 / 7);
  const taken = Array.from(
    { length: numSteps },
    (_, i) => (most + (i / Math.max(1, numSteps - 1)) * (least - most)) ** 7,
  );
  // The model is asked at the timestep whose σ is nearest, between two timesteps by log σ.
  const timesteps = taken.map((sigma) => {
    const above = sigmas.findIndex((other) => other > sigma);
    const high = Math.max(1, above < 0 ? sigmas.length - 1 : above);
    const part = Math.log(sigma / sigmas[high - 1]) / Math.log(sigmas[high] / sigmas[high - 1]);
    return roundHalfEven(high - 1 + Math.min(1, Math.max(0, part)));
  });
  return { timesteps, alphaBar: taken.map((sigma) => 1 / (1 + sigma ** 2)) };
}
