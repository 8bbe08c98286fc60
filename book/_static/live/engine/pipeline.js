// One idea: the parts put together, as Diffusers' pipelines do it for text to image, image to image and
// inpainting, with the same random numbers in the same order.
"use strict";

/** What a reader asked to stop. */
class Stopped extends Error {}

/**
 * @typedef {{data: Uint8ClampedArray, width: number, height: number}} Picture RGBA
 * @typedef {{pixels: Uint8ClampedArray, strength: number, mask: Uint8Array | null}} Start a picture to
 *   begin with, RGBA, and what of it is repainted (1) or stays (0)
 * @typedef {{prompt: string, negativePrompt: string, seed: number, steps: number, guidance: number,
 *   sampler: string, start: Start | null, watch: boolean, heatMaps: boolean}} Settings
 * @typedef {{index: number, of: number, timestep: number, picture: Picture, x0: Picture,
 *   residual: Picture}} StepSeen
 */

class StableDiffusion {
  /** @param {{kernels: ArrayBuffer, model: ArrayBuffer, weights: ArrayBuffer, merges: ArrayBuffer}} files */
  constructor({ kernels, model, weights, merges }) {
    const text = (/** @type {ArrayBuffer} */ file) => new TextDecoder().decode(file);
    this.config = JSON.parse(text(model));
    this.tokenizer = new Tokenizer(text(merges));
    this.memory = new Memory(kernels, weights);
    this.textEncoder = new ClipTextEncoder(
      this.memory,
      this.config.text_encoder,
      this.config.known_tokens,
    );
    this.unet = new UNet(this.memory, this.config.unet);
    this.vae = new AutoencoderKL(this.memory, this.config.vae);
    this.memory.setRoom(roomNeeded(this.config));
    this.side = this.config.unet.sample_size;
    this.factor = 2 ** (this.config.vae.block_out_channels.length - 1);
    this.size = this.side * this.factor;
  }

  /** The pieces of a prompt, which of them training ever met, and how many are read.
   * @param {string} prompt */
  tokens(prompt) {
    const pieces = this.tokenizer
      .encode(prompt)
      .map((piece) => ({ ...piece, known: this.textEncoder.knows(piece.id) }));
    return { pieces, kept: Math.min(pieces.length, MOST_TOKENS - 2) };
  }

  /** Draw a picture.
   * @param {Settings} settings
   * @param {(step: StepSeen | null) => Promise<void>} onStep null where nobody watches; throws to stop */
  async draw(settings, onStep) {
    check(settings, this.size);
    const { memory } = this;
    const before = memory.top;
    try {
      const context = this.read(settings);
      if (settings.heatMaps) this.unet.watch(context);
      const generator = new Generator(settings.seed);
      const scheduler = makeScheduler(settings.sampler, this.config.scheduler, settings.steps);
      const { latents, begin, blend } = this.begin(settings, scheduler, generator);
      const steps = {
        timesteps: scheduler.timesteps,
        step: (
          /** @type {Float32Array} */ noise,
          /** @type {number} */ i,
          /** @type {Float32Array} */ x,
        ) => blend(scheduler.step(noise, i, x, generator), i),
      };
      const predictNoise = (/** @type {Float32Array} */ x, /** @type {number} */ t) => {
        const [unconditional, conditional] = this.unet.predictNoise(x, t, context);
        return conditional ? guided(unconditional, conditional, settings.guidance) : unconditional;
      };
      const watch = async (
        /** @type {number} */ i,
        /** @type {Float32Array} */ x,
        /** @type {Float32Array} */ noise,
      ) => {
        if (!settings.watch) return onStep(null);
        await onStep({
          index: i - begin,
          of: scheduler.timesteps.length - begin,
          timestep: scheduler.timesteps[i],
          picture: this.decoded(x),
          x0: this.decoded(scheduler.predictX0(noise, i, x)),
          residual: falseColours(noise, this.side),
        });
      };
      const drawn = await denoise(predictNoise, steps, latents, watch, begin);
      return {
        picture: this.decoded(drawn),
        steps: scheduler.timesteps.length - begin,
        heatMaps: settings.heatMaps ? this.heatMaps(settings.prompt, context) : null,
      };
    } finally {
      memory.top = before;
    }
  }

  /** What the texts say to the UNet: with guidance both, the negative prompt first.
   * @param {Settings} settings */
  read({ prompt, negativePrompt, guidance }) {
    const texts = guidance > 1 ? [negativePrompt, prompt] : [prompt];
    const ids = texts.flatMap((text) => [...padded(this.tokenizer.encode(text))]);
    return this.unet.listen(this.textEncoder.encode(ids));
  }

  /** The latents that the loop begins with, the step it begins at, and what is put back after each step.
   * @param {Settings} settings @param {any} scheduler @param {Generator} generator
   * @returns {{latents: Float32Array, begin: number, blend: (x: Float32Array, i: number) => Float32Array}} */
  begin({ start, steps }, scheduler, generator) {
    const numbers = this.config.unet.in_channels * this.side ** 2;
    const asIs = (/** @type {Float32Array} */ x) => x;
    if (!start) return { latents: generator.randn(numbers), begin: 0, blend: asIs };

    const begin = firstStep(steps, start.strength);
    scheduler.startAt(begin);
    const clean = this.encoded(start.pixels, generator);
    const noise = generator.randn(numbers);
    const noisy = scheduler.addNoise(clean, noise, scheduler.timesteps[begin]);
    if (!start.mask) return { latents: noisy, begin, blend: asIs };

    // Diffusers encodes the masked picture too, and draws for it, before it sees that nobody needs it.
    generator.randn(numbers);
    const repaint = this.latentMask(start.mask);
    const blend = (/** @type {Float32Array} */ x, /** @type {number} */ i) => {
      const next = scheduler.timesteps[i + 1];
      const own = next === undefined ? clean : scheduler.addNoise(clean, noise, next);
      return x.map((value, k) => (repaint[k % repaint.length] ? value : own[k]));
    };
    return { latents: start.strength === 1 ? noise : noisy, begin, blend };
  }

  /** Latents of a picture, drawn from what the VAE says of them.
   * @param {Uint8ClampedArray} pixels RGBA @param {Generator} generator */
  encoded(pixels, generator) {
    const count = this.size ** 2;
    const planes = new Float32Array(3 * count);
    for (let i = 0; i < count; i++)
      for (let c = 0; c < 3; c++) planes[c * count + i] = (pixels[4 * i + c] / 255) * 2 - 1;
    const { mean, std } = this.vae.encode(planes, this.size);
    const noise = generator.randn(mean.length);
    const { scale, shift } = this.vae;
    return mean.map((value, i) => (value + std[i] * noise[i] - shift) * scale);
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

  /** A mask in the latents' size: each takes what stands at its first pixel.
   * @param {Uint8Array} mask */
  latentMask(mask) {
    const at = (/** @type {number} */ i) =>
      (Math.floor(i / this.side) * this.size + (i % this.side)) * this.factor;
    return Uint8Array.from({ length: this.side ** 2 }, (_, i) => mask[at(i)]);
  }

  /** @param {string} prompt @param {Context} context */
  heatMaps(prompt, context) {
    const pieces = this.tokenizer.encode(prompt).slice(0, MOST_TOKENS - 2);
    const maps = tokenMaps(this.memory, context, pieces.length + 1, this.side);
    return {
      words: wordMaps(maps, pieces, this.side, this.size),
      width: this.size,
      height: this.size,
    };
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

/** Scratch for the largest layer, in floats: see `room` in kernels.c. @param {any} config */
function roomNeeded({ unet, vae, text_encoder }) {
  const channels = [
    ...unet.block_out_channels,
    ...vae.block_out_channels,
    text_encoder.hidden_size,
  ];
  const widest = 2 * Math.max(...channels); // a skip connection's stand behind those of the way up
  const places = Math.max(unet.sample_size ** 2, text_encoder.max_position_embeddings);
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
