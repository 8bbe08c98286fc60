// One idea: the loop of chapter 2, which asks for the noise, and takes a
// step.
"use strict";

/**
 * The denoising loop.
 * @param {(latents: Float32Array, t: number) => Float32Array} unet what
 * noise there is
 * @param {{timesteps: number[], step: Function}} scheduler
 * @param {Float32Array} latents pure noise, or a picture's with noise
 * on them
 * @param {(i: number, latents: Float32Array, noise: Float32Array) =>
 * Promise<void>} watch
 * @param {number} begin the first step that is taken
 */
async function denoise(unet, scheduler, latents, watch, begin = 0) {
  for (let i = begin; i < scheduler.timesteps.length; i++) {
    const noise = unet(latents, scheduler.timesteps[i]);
    await watch(i, latents, noise);
    latents = scheduler.step(noise, i, latents);
  }
  return latents;
}

/**
 * Classifier-free guidance (Ho and Salimans 2022, equation 6, with s =
 * w + 1).
 * @param {Float32Array} unconditional
 * @param {Float32Array} conditional
 * @param {number} s
 */
const guided = (unconditional, conditional, s) =>
  unconditional.map((value, i) => value + s * (conditional[i] - value));
