// One idea: the three networks of Stable Diffusion (Rombach et al. 2022),
// each as one plain forward pass. Sizes come from the model's
// configuration, layers from the names of its weights: nothing here is
// written for one shape.
"use strict";

/** CLIP's text encoder (Radford et al. 2021): a causal transformer. */
class ClipTextEncoder {
  /** @param {Memory} memory @param {any} config
   * @param {number[]} known ids whose embedding is not 0 */
  constructor(memory, config, known) {
    this.layers = new Layers(memory, "text_encoder");
    this.memory = memory;
    this.config = config;
    /** @type {Map<number, number>} */
    this.row = new Map(known.map((id, i) => [id, i]));
  }

  /** Ids of n texts, so many each, to embeddings, a row for each.
   * @param {ArrayLike<number>} ids @param {number} length */
  encode(ids, length = 77) {
    return this.memory.scoped(() => {
      let x = this.embed(ids, length);
      for (const name of this.layers.list("encoder.layers"))
        x = this.layer(x, name);
      return this.lastNorm(x);
    });
  }

  /** @param {Tensor} x @param {string} name */
  layer(x, name) {
    const { layers, memory } = this;
    const { num_attention_heads: heads, layer_norm_eps: epsilon } =
      this.config;
    let h = layers.layerNorm(x, `${name}.layer_norm1`, epsilon);
    h = layers.linear(h, `${name}.self_attn.to_qkv`);
    h = layers.selfAttention(h, heads, true);
    const seen = layers.linear(h, `${name}.self_attn.out_proj`, x);

    h = layers.layerNorm(seen, `${name}.layer_norm2`, epsilon);
    h = layers.linear(h, `${name}.mlp.fc1`);
    memory.kernels.quick_gelu(h.at, rowsOf(h) * h.channels);
    return layers.linear(h, `${name}.mlp.fc2`, seen);
  }

  /** @param {Tensor} x */
  lastNorm(x) {
    const epsilon = this.config.layer_norm_eps;
    return this.layers.layerNorm(x, "final_layer_norm", epsilon);
  }

  /** A row for the token, plus a row for its place in the text.
   * @param {ArrayLike<number>} ids @param {number} length */
  embed(ids, length) {
    const wide = this.config.hidden_size;
    const table = (/** @type {string} */ name) =>
      this.layers.weight(`embeddings.${name}_embedding.weight`);
    const [tokens, places] = [table("token"), table("position")];
    const x = this.memory.tensor(ids.length / length, 1, length, wide);
    const { floats } = this.memory;
    for (let i = 0; i < ids.length; i++) {
      const row = this.row.get(ids[i]);
      for (let c = 0; c < wide; c++) {
        let value = floats[places.at / 4 + (i % length) * wide + c];
        if (row !== undefined)
          value += floats[tokens.at / 4 + row * wide + c];
        floats[x.at / 4 + i * wide + c] = value;
      }
    }
    return x;
  }
}

/** Sums of attention, (heads, tokens, side * side).
 * @typedef {{at: number, heads: number, tokens: number, side: number}}
 *   Sums */
/** What texts say to the UNet, for a whole picture: for each of its
 * cross-attention layers keys and values, and where its attention is
 * added up.
 * @typedef {{n: number, keysAndValues: Map<string, Tensor>,
 *   maps: Map<string, Sums>}} Context */

/** The noise predictor (Ho et al. 2020, appendix B; Rombach et al. 2022,
 * section 3.3). */
class UNet {
  /** @param {Memory} memory @param {any} config */
  constructor(memory, config) {
    this.layers = new Layers(memory, "unet");
    this.memory = memory;
    this.config = config;
    this.heads = config.num_attention_heads ?? config.attention_head_dim;
  }

  /** @param {Tensor} embeddings of one text or several
   * @returns {Context} */
  listen(embeddings) {
    const keysAndValues = new Map();
    for (const weight of this.layers.names) {
      const found = weight.match(/^unet\.(.*)\.attn2\.to_kv\.weight$/);
      if (!found) continue;
      const block = found[1];
      const kv = this.layers.linear(embeddings, `${block}.attn2.to_kv`);
      keysAndValues.set(block, kv);
    }
    return { n: embeddings.n, keysAndValues, maps: new Map() };
  }

  /** One picture's noise residual under each text of the context.
   * @param {Float32Array} latents (channels, side, side)
   * @param {number} t @param {Context} context */
  predictNoise(latents, t, context) {
    const { layers, memory } = this;
    const { in_channels, out_channels, sample_size } = this.config;
    const before = memory.top;
    const time = this.timeEmbedding(t);
    const block = (/** @type {Tensor} */ x, /** @type {string} */ name) =>
      this.block(x, name, time, context);

    let h = memory.put(latents, in_channels, sample_size, sample_size);
    h = layers.convolve(h, "conv_in");
    const skips = [h];
    for (const down of layers.list("down_blocks")) {
      for (const resnet of layers.list(`${down}.resnets`)) {
        h = block(h, resnet);
        skips.push(h);
      }
      for (const last of layers.list(`${down}.downsamplers`)) {
        h = layers.downsample(h, `${last}.conv`, 1);
        skips.push(h);
      }
    }
    for (const resnet of layers.list("mid_block.resnets"))
      h = block(h, resnet);
    for (const up of layers.list("up_blocks")) {
      for (const resnet of layers.list(`${up}.resnets`)) {
        const skip = /** @type {Tensor} */ (skips.pop());
        h = block(layers.concatenate(h, skip), resnet);
      }
      for (const last of layers.list(`${up}.upsamplers`))
        h = layers.convolve(h, `${last}.conv`, { doubled: true });
    }
    const { norm_num_groups, norm_eps } = this.config;
    h = layers.groupNorm(
      h, "conv_norm_out", norm_num_groups, norm_eps, true,
    );
    h = layers.convolve(h, "conv_out");

    const residuals = [];
    for (let i = 0; i < h.n; i++)
      residuals.push(memory.take(h, out_channels, i));
    memory.top = before;
    return residuals;
  }

  /** Two layers read the waves that say what t is. @param {number} t */
  timeEmbedding(t) {
    const { layers, memory } = this;
    const { block_out_channels, flip_sin_to_cos, freq_shift } =
      this.config;
    const size = block_out_channels[0];
    const said = waves(t, size, flip_sin_to_cos, freq_shift);
    let time = memory.put(said, size, 1, 1);
    for (const name of ["linear_1", "linear_2"]) {
      time = layers.linear(time, `time_embedding.${name}`);
      memory.kernels.silu(time.at, time.channels);
    }
    return time;
  }

  /** A resnet, and the transformer behind it where there is one.
   * @param {Tensor} x @param {string} resnet its name
   * @param {Tensor} time @param {Context} context */
  block(x, resnet, time, context) {
    const { norm_num_groups, norm_eps } = this.config;
    const h = this.layers.resnet(
      x, resnet, norm_num_groups, norm_eps, time,
    );
    const transformer = resnet.replace("resnets", "attentions");
    // The middle has a resnet more than transformers.
    if (!this.layers.has(`${transformer}.norm`)) return h;
    return this.transformer(h, transformer, context);
  }

  /** Pixels look at each other, then at the text; then each thinks for
   * itself.
   * @param {Tensor} x @param {string} name @param {Context} context */
  transformer(x, name, context) {
    const { layers, memory, heads } = this;
    const groups = this.config.norm_num_groups;
    return memory.scoped(() => {
      let h = layers.groupNorm(x, `${name}.norm`, groups, 1e-6, false);
      h = layers.linear(h, `${name}.proj_in`);
      for (const block of layers.list(`${name}.transformer_blocks`)) {
        let y = layers.layerNorm(h, `${block}.norm1`);
        y = layers.linear(y, `${block}.attn1.to_qkv`);
        y = layers.selfAttention(y, heads);
        h = layers.linear(y, `${block}.attn1.to_out.0`, h);

        y = layers.layerNorm(h, `${block}.norm2`);
        y = layers.linear(y, `${block}.attn2.to_q`);
        y = this.hear(y, block, context);
        h = layers.linear(y, `${block}.attn2.to_out.0`, h);

        y = layers.layerNorm(h, `${block}.norm3`);
        y = layers.geglu(y, `${block}.ff.net.0.proj`);
        h = layers.linear(y, `${block}.ff.net.2`, h);
      }
      return layers.linear(h, `${name}.proj_out`, x);
    });
  }

  /** Up to the first text, both halves of guidance are one picture.
   * @param {Tensor} q @param {string} block @param {Context} context */
  hear(q, block, context) {
    const kv = /** @type {Tensor} */ (context.keysAndValues.get(block));
    const sums = context.maps.get(block);
    if (sums) sums.side = q.height;
    const both = this.memory.repeated(q, context.n);
    return this.layers.crossAttention(
      both, kv, this.heads, sums?.at ?? 0,
    );
  }

  /** Have the attention of all layers added up, from 0. The block in the
   * middle, coarse and far from the pixels, stays out, as in daam.
   * @param {Context} context */
  watch(context) {
    const { memory, heads } = this;
    for (const [name, { width: tokens }] of context.keysAndValues) {
      if (name.startsWith("mid_block")) continue;
      const count = heads * tokens * this.config.sample_size ** 2;
      const at = memory.allocate(count);
      memory.floats.fill(0, at / 4, at / 4 + count);
      context.maps.set(name, { at, heads, tokens, side: 0 });
    }
  }
}

/** A timestep as waves of many lengths (Vaswani et al. 2017, section
 * 3.5). @param {number} t @param {number} size how many
 * @param {boolean} cosinesFirst @param {number} shift */
function waves(t, size, cosinesFirst, shift) {
  const half = size / 2;
  const said = new Float32Array(size);
  const [cosines, sines] = cosinesFirst ? [0, half] : [half, 0];
  for (let i = 0; i < half; i++) {
    const angle = t * 10000 ** (-i / (half - shift));
    said[cosines + i] = Math.cos(angle);
    said[sines + i] = Math.sin(angle);
  }
  return said;
}

/** Pictures to latents and back (Rombach et al. 2022, section 3.1). */
class AutoencoderKL {
  /** @param {Memory} memory @param {any} config */
  constructor(memory, config) {
    this.layers = new Layers(memory, "vae");
    this.memory = memory;
    this.config = config;
    this.scale = config.scaling_factor;
    this.shift = config.shift_factor ?? 0;
  }

  /** @param {Float32Array} latents (channels, side, side)
   * @param {number} side
   * @returns {Float32Array} pixels (3, height, width) of about -1..1 */
  decode(latents, side) {
    const { layers, memory } = this;
    const { latent_channels, out_channels } = this.config;
    const before = memory.top;
    const own = latents.map((value) => value / this.scale + this.shift);
    let h = memory.put(own, latent_channels, side, side);
    h = layers.linear(h, "post_quant_conv");
    h = layers.convolve(h, "decoder.conv_in");
    h = this.middle(h, "decoder.mid_block");
    for (const up of layers.list("decoder.up_blocks")) {
      for (const resnet of layers.list(`${up}.resnets`))
        h = this.resnet(h, resnet);
      for (const last of layers.list(`${up}.upsamplers`))
        h = layers.convolve(h, `${last}.conv`, { doubled: true });
    }
    h = this.norm(h, "decoder.conv_norm_out", true);
    h = layers.convolve(h, "decoder.conv_out");
    const pixels = memory.take(h, out_channels);
    memory.top = before;
    return pixels;
  }

  /** @param {Float32Array} pixels (3, side, side) of -1..1
   * @param {number} side
   * @returns {{mean: Float32Array, std: Float32Array}} of the normal
   *   distribution that the latents come from, not yet scaled */
  encode(pixels, side) {
    const { layers, memory } = this;
    const { latent_channels, in_channels } = this.config;
    const before = memory.top;
    let h = memory.put(pixels, in_channels, side, side);
    h = layers.convolve(h, "encoder.conv_in");
    for (const down of layers.list("encoder.down_blocks")) {
      for (const resnet of layers.list(`${down}.resnets`))
        h = this.resnet(h, resnet);
      for (const last of layers.list(`${down}.downsamplers`))
        h = layers.downsample(h, `${last}.conv`, 0);
    }
    h = this.middle(h, "encoder.mid_block");
    h = this.norm(h, "encoder.conv_norm_out", true);
    h = layers.convolve(h, "encoder.conv_out");
    h = layers.linear(h, "quant_conv");
    const both = memory.take(h, 2 * latent_channels);
    memory.top = before;
    const [mean, logarithms] = [
      both.slice(0, both.length / 2), both.slice(both.length / 2),
    ];
    // log σ², which Diffusers keeps within -30..20
    const std = logarithms.map((value) =>
      Math.exp(0.5 * Math.min(20, Math.max(-30, value))));
    return { mean, std };
  }

  /** Where the picture is smallest, pixels look at each other.
   * @param {Tensor} x @param {string} name */
  middle(x, name) {
    const { layers, memory } = this;
    const attention = `${name}.attentions.0`;
    const h = this.resnet(x, `${name}.resnets.0`);
    const seen = memory.scoped(() => {
      let y = this.norm(h, `${attention}.group_norm`, false);
      y = layers.linear(y, `${attention}.to_qkv`);
      y = layers.selfAttention(y, 1);
      return layers.linear(y, `${attention}.to_out.0`, h);
    });
    return this.resnet(seen, `${name}.resnets.1`);
  }

  /** @param {Tensor} x @param {string} name */
  resnet(x, name) {
    return this.layers.resnet(x, name, this.config.norm_num_groups, 1e-6);
  }

  /** @param {Tensor} x @param {string} name @param {boolean} withSilu */
  norm(x, name, withSilu) {
    const groups = this.config.norm_num_groups;
    return this.layers.groupNorm(x, name, groups, 1e-6, withSilu);
  }
}
