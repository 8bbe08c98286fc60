// Flow matching's straight path from picture to noise, and Euler's steps back along it.
"use strict";

/**
 * What a scheduler_config.json of Diffusers' FlowMatchEulerDiscreteScheduler says, as far as it matters here.
 * @typedef {{num_train_timesteps: number, shift: number}} FlowMatchingConfig
 */

/** Where the time counts more noise. Esser et al. 2024, equation 23, with α = shift.
 * @param {number} sigma @param {number} shift */
const shifted = (sigma, shift) => (shift * sigma) / (1 + (shift - 1) * sigma);

/** x_t = (1 - σ) x_0 + σ ε (Lipman et al. 2023; Esser et al. 2024, equation 13, which writes t for σ). The model's
 * velocity is ε - x_0, the direction of that path. */
class FlowMatchEuler {
  /**
   * Levels of noise as Diffusers has them, rounded where it rounds.
   * @param {FlowMatchingConfig} config
   * @param {number} numSteps
   */
  constructor({ num_train_timesteps: total, shift }, numSteps) {
    if (!Number.isInteger(numSteps) || numSteps < 1 || numSteps > total)
      throw new Error(
        `The number of steps is 1 to ${total} with this sampler, but it is ${numSteps}.`,
      );
    if (!(shift > 0 && shift < Infinity))
      throw new Error(`The shift is ${shift}, but it is a number above 0.`);
    // The least level is shifted when the scheduler is made, and with all others once more when steps are asked for.
    const least = Math.fround(shifted(Math.fround(1 / total), shift));
    const levels = Array.from({ length: numSteps }, (_, i) => {
      const evenly = 1 + ((least - 1) * i) / Math.max(1, numSteps - 1);
      return Math.fround(shifted(evenly, shift));
    });
    this.timesteps = levels.map((sigma) => Math.fround(sigma * total));
    this.sigmas = [...levels, 0];
  }

  /**
   * Euler's step: on along the velocity, as far as the noise level falls.
   * @param {Float32Array} velocity
   * @param {number} i index of the step
   * @param {Float32Array} latents
   */
  step(velocity, i, latents) {
    return combine([1, latents], [this.sigmas[i + 1] - this.sigmas[i], velocity]);
  }

  /**
   * Where the velocity leads, if it stays the same all the way: x_0 = x_t - σ v.
   * @param {Float32Array} velocity
   * @param {number} i index of the step
   * @param {Float32Array} latents
   */
  predictX0(velocity, i, latents) {
    return combine([1, latents], [-this.sigmas[i], velocity]);
  }
}
