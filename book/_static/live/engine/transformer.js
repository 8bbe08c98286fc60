// One idea: what Stable Diffusion 3 has in place of the UNet (Esser et
// al. 2024, section 4): a transformer in which picture and text look at
// each other. Its text encoder also says all of a text in one row.
"use strict";

/** CLIP's text encoder with a projection, which stands for both of SD3's.
 */
class ClipTextEncoderWithProjection extends ClipTextEncoder {
  /** The last but one of the states, a row for each token, and one row
   * for each text. Both twice side by side, for there are two encoders.
   * @param {ArrayLike<number>} ids @param {number} length of a text */
  read(ids, length) {
    const { layers } = this;
    const names = layers.list("encoder.layers");
    const last = /** @type {string} */ (names.pop());
    let x = this.embed(ids, length);
    for (const name of names) x = this.layer(x, name);

    const ends = this.ends(this.lastNorm(this.layer(x, last)), ids);
    const pooled = layers.linear(ends, "text_projection");
    return {
      words: layers.concatenate(x, x),
      pooled: layers.concatenate(pooled, pooled),
    };
  }

  /** The state at each text's first end, which has seen all before it.
   * @param {Tensor} x @param {ArrayLike<number>} ids */
  ends(x, ids) {
    const y = this.memory.like(x, { width: 1 });
    for (let i = 0; i < x.n; i++) {
      let row = i * x.width;
      while (ids[row] !== END_ID) row++;
      const from = x.at / 4 + row * x.channels;
      const to = y.at / 4 + i * x.channels;
      this.memory.floats.copyWithin(to, from, from + x.channels);
    }
    return y;
  }
}

/** What texts say to the transformer, for a whole picture.
 * @typedef {{words: Tensor, pooled: Tensor}} Heard */

/** The velocity predictor. */
class SD3Transformer {
  /** @param {Memory} memory @param {any} config */
  constructor(memory, config) {
    this.layers = new Layers(memory, "transformer");
    this.memory = memory;
    this.config = config;
    this.heads = config.num_attention_heads;
  }

  /** What does not change from step to step.
   * @param {{words: Tensor, pooled: Tensor}} texts @returns {Heard} */
  listen({ words, pooled }) {
    const { layers, memory } = this;
    const name = "time_text_embed.text_embedder";
    const h = layers.linear(pooled, `${name}.linear_1`);
    memory.kernels.silu(h.at, rowsOf(h) * h.channels);
    return {
      words: layers.linear(words, "context_embedder"),
      pooled: layers.linear(h, `${name}.linear_2`),
    };
  }

  /** One picture's velocity under each of the texts.
   * @param {Float32Array} latents (channels, side, side)
   * @param {number} t @param {Heard} heard */
  predictVelocity(latents, t, { words, pooled }) {
    const { layers, memory } = this;
    const before = memory.top;
    const said = this.timeAndText(t, pooled);
    let picture = memory.repeated(this.patches(latents), words.n);
    let text = words;
    for (const block of layers.list("transformer_blocks"))
      [picture, text] = this.block(picture, text, block, said);

    const [scale, shift] = this.modulation(said, "norm_out", 2);
    let h = this.modulated(picture, scale, shift);
    h = layers.linear(h, "proj_out");
    const velocities = [];
    for (let i = 0; i < h.n; i++) velocities.push(this.unpatched(h, i));
    memory.top = before;
    return velocities;
  }

  /** Time and text as one row for each text, which speaks to all blocks.
   * @param {number} t @param {Tensor} pooled */
  timeAndText(t, pooled) {
    const { layers, memory } = this;
    const name = "time_text_embed.timestep_embedder";
    let h = memory.put(waves(t, 256, true, 0), 256, 1, 1);
    h = layers.linear(h, `${name}.linear_1`);
    memory.kernels.silu(h.at, h.channels);
    h = memory.repeated(h, pooled.n);
    h = layers.linear(h, `${name}.linear_2`, pooled);
    memory.kernels.silu(h.at, rowsOf(h) * h.channels);
    return h;
  }

  /** A row for each patch of latents, plus a row for its place.
   * @param {Float32Array} latents */
  patches(latents) {
    const { layers, memory } = this;
    const { in_channels: channels, sample_size: side } = this.config;
    const p = this.config.patch_size;
    const { at, shape } = layers.weight("pos_embed.proj.weight");
    const wide = byEights(channels);
    const x = memory.tensor(1, 1, (side / p) ** 2, p * p * wide);
    memory.floats.fill(0, x.at / 4, x.at / 4 + x.width * x.channels);
    this.eachOfPatches((patch, tap, pixel) => {
      const row = x.at / 4 + patch * x.channels + tap * wide;
      for (let c = 0; c < channels; c++)
        memory.floats[row + c] = latents[c * side * side + pixel];
    });
    const y = memory.like(x, { channels: shape[0] });
    memory.kernels.product(
      x.at, x.channels, at, layers.bias("pos_embed.proj"),
      layers.weight("pos_embed.pos_embed").at, y.channels,
      y.at, y.channels, x.width, y.channels, x.channels,
    );
    return y;
  }

  /** The way back, for one of the texts.
   * @param {Tensor} x @param {number} image */
  unpatched(x, image) {
    const { out_channels: channels, sample_size: side } = this.config;
    const latents = new Float32Array(channels * side * side);
    const start = x.at / 4 + image * x.width * x.channels;
    this.eachOfPatches((patch, tap, pixel) => {
      const row = start + patch * x.channels + tap * channels;
      for (let c = 0; c < channels; c++)
        latents[c * side * side + pixel] = this.memory.floats[row + c];
    });
    return latents;
  }

  /** @param {(patch: number, tap: number, pixel: number) => void} visit
   *   tap: which pixel of the patch it is */
  eachOfPatches(visit) {
    const { sample_size: side, patch_size: p } = this.config;
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++) {
        const patch = Math.floor(y / p) * (side / p) + Math.floor(x / p);
        visit(patch, (y % p) * p + (x % p), y * side + x);
      }
  }

  /** All look at all; then each thinks for itself. The last block leaves
   * the text as it is, for nobody reads it any more.
   * @param {Tensor} picture @param {Tensor} text
   * @param {string} name @param {Tensor} said by time and text
   * @returns {[Tensor, Tensor]} */
  block(picture, text, name, said) {
    const isLast = !this.layers.has(`${name}.attn.to_add_out`);
    const ofPicture = this.modulation(said, `${name}.norm1`, 6);
    const norm = `${name}.norm1_context`;
    const ofText = this.modulation(said, norm, isLast ? 2 : 6);
    const [shift, scale] = ofPicture;
    // The last one's norm is another layer, with the two the other way.
    const [first, second] = ofText;
    const [textScale, textShift] = isLast ? ofText : [second, first];
    const seen = this.memory.scoped(() => this.jointAttention(
      this.modulated(picture, scale, shift),
      this.modulated(text, textScale, textShift), `${name}.attn`,
    ));
    const parts = [this.memory.like(picture), this.memory.like(text)];
    this.copyParts(seen, parts, false);
    const nextPicture = this.think(
      picture, parts[0], name, ["attn.to_out.0", "ff"], ofPicture,
    );
    if (isLast) return [nextPicture, text];
    const nextText = this.think(
      text, parts[1], name, ["attn.to_add_out", "ff_context"], ofText,
    );
    return [nextPicture, nextText];
  }

  /** What was seen comes on top, then what two layers make of it.
   * @param {Tensor} x @param {Tensor} seen @param {string} block
   * @param {string[]} names @param {Part[]} parts of the modulation */
  think(x, seen, block, [out, ff], [, , gate, shift, scale, lastGate]) {
    const { layers, memory } = this;
    return memory.scoped(() => {
      let h = layers.linear(seen, `${block}.${out}`);
      const next = this.gated(x, h, gate);
      h = this.modulated(next, scale, shift);
      h = layers.linear(h, `${block}.${ff}.net.0.proj`);
      memory.kernels.gelu(h.at, rowsOf(h) * h.channels);
      h = layers.linear(h, `${block}.${ff}.net.2`);
      return this.gated(next, h, lastGate);
    });
  }

  /** Patches and tokens in one row: each looks at all of both.
   * @param {Tensor} picture @param {Tensor} text @param {string} name */
  jointAttention(picture, text, name) {
    const parts = [
      this.layers.linear(picture, `${name}.to_qkv`),
      this.layers.linear(text, `${name}.add_qkv`),
    ];
    const width = picture.width + text.width;
    const joint = this.memory.like(parts[0], { width });
    this.copyParts(joint, parts, true);
    return this.layers.selfAttention(joint, this.heads);
  }

  /** The rows of parts one behind another in the whole, or back.
   * @param {Tensor} whole @param {Tensor[]} parts
   * @param {boolean} together */
  copyParts(whole, parts, together) {
    const { floats } = this.memory;
    let place = whole.at / 4;
    for (let i = 0; i < whole.n; i++)
      for (const part of parts) {
        const size = part.width * part.channels;
        const own = part.at / 4 + i * size;
        const [to, from] = together ? [place, own] : [own, place];
        floats.copyWithin(to, from, from + size);
        place += size;
      }
  }

  /** What time and text say to a layer: so many parts for each text.
   * @param {Tensor} said @param {string} name @param {number} count
   * @returns {Part[]} */
  modulation(said, name, count) {
    const { at, channels } = this.layers.linear(said, `${name}.linear`);
    const wide = channels / count;
    return Array.from({ length: count }, (_, part) => (image) =>
      at + 4 * (image * channels + part * wide));
  }

  /** A norm without weights, then (1 + scale) x + shift (Peebles and Xie
   * 2023, section 3.2). @param {Tensor} x
   * @param {Part} scale @param {Part} shift */
  modulated(x, scale, shift) {
    const y = this.memory.like(x);
    const weight = this.memory.allocate(x.channels);
    const { floats, kernels } = this.memory;
    const size = 4 * x.width * x.channels;
    for (let i = 0; i < x.n; i++) {
      const from = scale(i) / 4;
      for (let c = 0; c < x.channels; c++)
        floats[weight / 4 + c] = 1 + floats[from + c];
      kernels.layer_norm(
        x.at + i * size, x.width, x.channels, 1e-6,
        weight, shift(i), y.at + i * size,
      );
    }
    return y;
  }

  /** x + gate h.
   * @param {Tensor} x @param {Tensor} h @param {Part} gate */
  gated(x, h, gate) {
    const y = this.memory.like(x);
    const size = 4 * x.width * x.channels;
    for (let i = 0; i < x.n; i++) {
      const at = i * size;
      this.memory.kernels.gated(
        x.at + at, h.at + at, gate(i), y.at + at, x.width, x.channels,
      );
    }
    return y;
  }
}

/** Where a part of the modulation lies for each text.
 * @typedef {(image: number) => number} Part */
