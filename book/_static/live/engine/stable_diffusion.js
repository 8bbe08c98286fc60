// One idea: Stable Diffusion, as Diffusers' pipelines do it for text to image, image to image and inpainting, with
// the same random numbers in the same order.
"use strict";

class StableDiffusion extends Pipeline {
  /** @param {Files} files */
  constructor(files) {
    super(files);
    const { unet, vae, text_encoder, known_tokens } = this.config;
    this.textEncoder = new ClipTextEncoder(this.memory, text_encoder, known_tokens);
    this.unet = new UNet(this.memory, unet);
    const channels = [
      ...unet.block_out_channels,
      ...vae.block_out_channels,
      text_encoder.hidden_size,
    ];
    const places = Math.max(unet.sample_size ** 2, text_encoder.max_position_embeddings);
    this.memory.setRoom(roomNeeded(channels, places));
  }

  /** Draw a picture.
   * @param {Settings} settings
   * @param {OnStep} onStep */
  async draw(settings, onStep) {
    check(settings, this.size);
    const { memory } = this;
    const before = memory.top;
    try {
      const context = this.unet.listen(this.textEncoder.encode(this.ids(settings)));
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
      const watch = this.watcher(settings, scheduler, onStep, begin);
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

  /** The latents that the loop begins with, the step it begins at, and what is put back after each step.
   * @param {Settings} settings @param {any} scheduler @param {Generator} generator
   * @returns {{latents: Float32Array, begin: number, blend: (x: Float32Array, i: number) => Float32Array}} */
  begin({ start, steps }, scheduler, generator) {
    const asIs = (/** @type {Float32Array} */ x) => x;
    if (!start) return { latents: this.noise(generator), begin: 0, blend: asIs };

    const begin = firstStep(steps, start.strength);
    scheduler.startAt(begin);
    const clean = this.encoded(start.pixels, generator);
    const noise = this.noise(generator);
    const noisy = scheduler.addNoise(clean, noise, scheduler.timesteps[begin]);
    if (!start.mask) return { latents: noisy, begin, blend: asIs };

    // Diffusers encodes the masked picture too, and draws for it, before it sees that nobody needs it.
    this.noise(generator);
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
