// One idea: text to image by flow matching, as Diffusers' StableDiffusion3Pipeline does it without T5 and its tokens.
"use strict";

class StableDiffusion3 extends Pipeline {
  /** @param {Files} files */
  constructor(files) {
    super(files);
    const { transformer, vae, text_encoder, known_tokens } = this.config;
    this.textEncoder = new ClipTextEncoderWithProjection(this.memory, text_encoder, known_tokens);
    this.transformer = new SD3Transformer(this.memory, transformer);
    const channels = [
      transformer.caption_projection_dim, // as wide as the blocks
      ...vae.block_out_channels,
      text_encoder.hidden_size,
    ];
    const patches = (this.side / transformer.patch_size) ** 2;
    const places = Math.max(this.side ** 2, patches + this.mostTokens);
    this.memory.setRoom(roomNeeded(channels, places));
  }

  /** Draw a picture.
   * @param {Settings} settings
   * @param {OnStep} onStep */
  async draw(settings, onStep) {
    check(settings, this.size);
    if (settings.start) throw new Error("This model draws here from noise alone.");
    const { memory, config } = this;
    const before = memory.top;
    try {
      const texts = this.textEncoder.read(this.ids(settings), this.mostTokens);
      const heard = this.transformer.listen(texts);
      const shift = settings.shift ?? config.scheduler.shift;
      const scheduler = new FlowMatchEuler({ ...config.scheduler, shift }, settings.steps);
      const predictVelocity = (/** @type {Float32Array} */ x, /** @type {number} */ t) => {
        const [unconditional, conditional] = this.transformer.predictVelocity(x, t, heard);
        return conditional ? guided(unconditional, conditional, settings.guidance) : unconditional;
      };
      const latents = this.noise(new Generator(settings.seed));
      const watch = this.watcher(settings, scheduler, onStep);
      const drawn = await denoise(predictVelocity, scheduler, latents, watch);
      return { picture: this.decoded(drawn), steps: settings.steps, heatMaps: null };
    } finally {
      memory.top = before;
    }
  }
}
