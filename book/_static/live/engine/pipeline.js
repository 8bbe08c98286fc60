// One idea: what all pipelines share: the parts put together, what the reader sees of each step, and what is refused.
"use strict";

/** What a reader asked to stop. */
class Stopped extends Error {}

/**
 * @typedef {{data: Uint8ClampedArray, width: number, height: number}} Picture RGBA
 * @typedef {{pixels: Uint8ClampedArray, strength: number, mask: Uint8Array | null}} Start a picture to
 *   begin with, RGBA, and what of it is repainted (1) or stays (0)
 * @typedef {{prompt: string, negativePrompt: string, seed: number, steps: number, guidance: number,
 *   sampler: string, start: Start | null, watch: boolean, heatMaps: boolean, model?: string, shift?: number}} Settings
 *   model: the zoo's Stable Diffusion where it is left out; shift: of flow matching, or else its configuration's
 * @typedef {{index: number, of: number, timestep: number, picture: Picture, x0: Picture,
 *   residual: Picture}} StepSeen residual: what the network said, the noise or the velocity
 * @typedef {{kernels: ArrayBuffer, model: ArrayBuffer, weights: ArrayBuffer[], merges: ArrayBuffer}} Files
 * @typedef {(step: StepSeen | null) => Promise<void>} OnStep null where nobody watches; throws to stop
 */

class Pipeline {
  /** @param {Files} files */
  constructor({ kernels, model, weights, merges }) {
    const text = (/** @type {ArrayBuffer} */ file) => new TextDecoder().decode(file);
    this.config = JSON.parse(text(model));
    this.tokenizer = new Tokenizer(text(merges));
    this.memory = new Memory(kernels, weights);
    this.vae = new AutoencoderKL(this.memory, this.config.vae);
    this.network = this.config.unet ?? this.config.transformer; // its configuration
    this.side = this.network.sample_size;
    this.factor = 2 ** (this.config.vae.block_out_channels.length - 1);
    this.size = this.side * this.factor;
    this.mostTokens = this.config.tokens ?? MOST_TOKENS;
    this.known = new Set(this.config.known_tokens);
  }

  /** The pieces of a prompt, which of them training ever met, and how many are read.
   * @param {string} prompt */
  tokens(prompt) {
    const pieces = this.tokenizer
      .encode(prompt)
      .map((piece) => ({ ...piece, known: this.known.has(piece.id) }));
    return { pieces, kept: Math.min(pieces.length, this.mostTokens - 2) };
  }

  /** Token ids of what is asked for; with guidance of both texts, the negative prompt first.
   * @param {Settings} settings */
  ids({ prompt, negativePrompt, guidance }) {
    const texts = guidance > 1 ? [negativePrompt, prompt] : [prompt];
    return texts.flatMap((text) => [...padded(this.tokenizer.encode(text), this.mostTokens)]);
  }

  /** Pure noise. @param {Generator} generator */
  noise(generator) {
    return generator.randn(this.network.in_channels * this.side ** 2);
  }

  /** Tells the reader of each step, before it is taken.
   * @param {Settings} settings @param {{timesteps: number[], predictX0: Function}} scheduler
   * @param {OnStep} onStep @param {number} begin
   * @returns {(i: number, x: Float32Array, predicted: Float32Array) => Promise<void>} */
  watcher(settings, scheduler, onStep, begin = 0) {
    return async (i, x, predicted) => {
      if (!settings.watch) return onStep(null);
      await onStep({
        index: i - begin,
        of: scheduler.timesteps.length - begin,
        timestep: scheduler.timesteps[i],
        picture: this.decoded(x),
        x0: this.decoded(scheduler.predictX0(predicted, i, x)),
        residual: falseColours(predicted, this.side),
      });
    };
  }

  /** @param {Float32Array} latents @returns {Picture} */
  decoded(latents) {
    const planes = this.vae.decode(latents, this.side);
    const count = this.size ** 2;
    const data = new Uint8ClampedArray(4 * count).fill(255); // it rounds and clips
    for (let i = 0; i < count; i++)
      for (let c = 0; c < 3; c++) data[4 * i + c] = (planes[c * count + i] / 2 + 0.5) * 255;
    return { data, width: this.size, height: this.size };
  }
}

/** The first three of four channels as red, green and blue; gray is 0.
 * @param {Float32Array} latents @param {number} side @returns {Picture} */
function falseColours(latents, side) {
  const data = new Uint8ClampedArray(4 * side * side).fill(255);
  for (let i = 0; i < side * side; i++)
    for (let c = 0; c < 3; c++) data[4 * i + c] = 127.5 + 50 * latents[c * side * side + i];
  return { data, width: side, height: side };
}

/** Scratch for the largest layer, in floats: see `room` in kernels.c.
 * @param {number[]} channels of all layers @param {number} places that look at each other */
function roomNeeded(channels, places) {
  const widest = 2 * Math.max(...channels); // a skip connection's stand behind those of the way up
  return Math.max(16 * 32 * 2 * widest, 64 * 9 * widest, byEights(places) * (2 * widest + 32));
}

/** What comes from the page is checked here, once. @param {Settings} settings @param {number} size */
function check({ prompt, negativePrompt, steps, guidance, start }, size) {
  if (typeof prompt !== "string" || typeof negativePrompt !== "string")
    throw new Error("A prompt is a text: type what to draw.");
  if (!Number.isInteger(steps) || steps < 1 || steps > 999)
    throw new Error(`There are ${steps} steps, but a whole number from 1 to 999 is needed.`);
  if (!(guidance >= 0 && guidance < Infinity))
    throw new Error(`The guidance scale is ${guidance}, but it is a number of 0 or more.`);
  if (!start) return;
  if (!(start.strength >= 0 && start.strength <= 1))
    throw new Error(`The strength is ${start.strength}, but it is a number from 0 to 1.`);
  if (start.pixels.length !== 4 * size * size || (start.mask && start.mask.length !== size * size))
    throw new Error(`The picture to begin with has another size than ${size} x ${size}.`);
}
