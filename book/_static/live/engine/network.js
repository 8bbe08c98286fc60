// One idea: the three networks of Stable Diffusion (Rombach et al. 2022), each as one plain forward pass.
// Sizes come from the model's configuration, layers from the names of its weights: nothing here is
// written for one shape.
"use strict";

/** CLIP's text encoder (Radford et al. 2021): a causal transformer over 77 tokens. */
class ClipTextEncoder {
  /** @param {Memory} memory @param {any} config @param {number[]} known ids whose embedding is not 0 */
  constructor(memory, config, known) {
    this.layers = new Layers(memory, "text_encoder.");
    this.memory = memory;
    this.config = config;
    /** @type {Map<number, number>} */
    this.row = new Map(known.map((id, i) => [id, i]));
  }

  /** @param {number} id @returns {boolean} whether training ever met the token */
  knows(id) {
    return this.row.has(id);
  }

  /** Ids (n * 77) to embeddings, n texts of 77 rows. @param {ArrayLike<number>} ids */
  encode(ids) {
    const { hidden_size, num_hidden_layers, num_attention_heads, max_position_embeddings, layer_norm_eps } =
      this.config;
    const { layers, memory } = this;
    return memory.scoped(() => {
      let x = memory.tensor(ids.length / max_position_embeddings, 1, max_position_embeddings, hidden_size);
      const tokens = layers.weight("embeddings.token_embedding.weight").at / 4;
      const positions = layers.weight("embeddings.position_embedding.weight").at / 4;
      for (let i = 0; i < ids.length; i++) {
        const row = this.row.get(ids[i]);
        const position = positions + (i % max_position_embeddings) * hidden_size;
        for (let c = 0; c < hidden_size; c++) {
          const token = row === undefined ? 0 : memory.floats[tokens + row * hidden_size + c];
          memory.floats[x.at / 4 + i * hidden_size + c] = token + memory.floats[position + c];
        }
      }
      for (let layer = 0; layer < num_hidden_layers; layer++) {
        const name = `encoder.layers.${layer}`;
        const normed = layers.layerNorm(x, `${name}.layer_norm1`, layer_norm_eps);
        const qkv = layers.linear(normed, `${name}.self_attn.to_qkv`);
        const seen = layers.selfAttention(qkv, num_attention_heads, true);
        x = layers.linear(seen, `${name}.self_attn.out_proj`, x);
        const h = layers.linear(layers.layerNorm(x, `${name}.layer_norm2`, layer_norm_eps), `${name}.mlp.fc1`);
        memory.kernels.quick_gelu(h.at, rowsOf(h) * h.channels);
        x = layers.linear(h, `${name}.mlp.fc2`, x);
      }
      return layers.layerNorm(x, "final_layer_norm", layer_norm_eps);
    });
  }
}

/** What a text says to the UNet, for a whole picture: keys and values for each cross-attention layer,
 * and where its attention is added up.
 * @typedef {{at: number, heads: number, tokens: number, side: number}} Sums of attention, (heads, tokens, places)
 * @typedef {{n: number, keysAndValues: Map<string, Tensor>, maps: Map<string, Sums>}} Context */

/** The noise predictor (Ronneberger et al. 2015; Ho et al. 2020, appendix B; Rombach et al. 2022). */
class UNet {
  /** @param {Memory} memory @param {any} config */
  constructor(memory, config) {
    this.layers = new Layers(memory, "unet.");
    this.memory = memory;
    this.config = config;
    this.heads = config.num_attention_heads ?? config.attention_head_dim;
    const end = ".attn2.to_kv.weight";
    this.crossAttentions = [...memory.weights.keys()]
      .filter((name) => name.startsWith("unet.") && name.endsWith(end))
      .map((name) => name.slice("unet.".length, -end.length));
  }

  /** @param {Tensor} embeddings of one or more texts @returns {Context} */
  listen(embeddings) {
    const keysAndValues = new Map();
    for (const name of this.crossAttentions)
      keysAndValues.set(name, this.layers.linear(embeddings, `${name}.attn2.to_kv`));
    return { n: embeddings.n, keysAndValues, maps: new Map() };
  }

  /** Noise residuals of one picture under each text of the context.
   * @param {Float32Array} latents (channels, side, side) @param {number} t @param {Context} context */
  predictNoise(latents, t, context) {
    const { layers, memory } = this;
    const { in_channels, out_channels, sample_size, layers_per_block, norm_num_groups, norm_eps } = this.config;
    const before = memory.top;
    const time = this.timeEmbedding(t);
    const resnet = (/** @type {Tensor} */ x, /** @type {string} */ block, /** @type {number} */ j) => {
      const h = layers.resnet(x, `${block}.resnets.${j}`, norm_num_groups, norm_eps, time);
      const name = `${block}.attentions.${j}`;
      return layers.has(`${name}.norm.weight`) ? this.transformer(h, name, context) : h;
    };
    let h = layers.convolve(memory.put(latents, in_channels, sample_size, sample_size), "conv_in");
    const skips = [h];
    for (let k = 0; layers.has(`down_blocks.${k}.resnets.0.norm1.weight`); k++) {
      for (let j = 0; j < layers_per_block; j++) skips.push((h = resnet(h, `down_blocks.${k}`, j)));
      const name = `down_blocks.${k}.downsamplers.0.conv`;
      if (layers.has(`${name}.weight`)) skips.push((h = layers.downsample(h, name, 1)));
    }
    h = resnet(resnet(h, "mid_block", 0), "mid_block", 1);
    for (let k = 0; layers.has(`up_blocks.${k}.resnets.0.norm1.weight`); k++) {
      for (let j = 0; j <= layers_per_block; j++)
        h = resnet(layers.concatenate(h, /** @type {Tensor} */ (skips.pop())), `up_blocks.${k}`, j);
      const name = `up_blocks.${k}.upsamplers.0.conv`;
      if (layers.has(`${name}.weight`)) h = layers.convolve(h, name, { doubled: true });
    }
    h = layers.convolve(layers.groupNorm(h, "conv_norm_out", norm_num_groups, norm_eps, true), "conv_out");
    const residuals = [];
    for (let i = 0; i < h.n; i++) residuals.push(memory.take(h, out_channels, i));
    memory.top = before;
    return residuals;
  }

  /** Waves of many lengths say what t is (Vaswani et al. 2017, section 3.5), then two layers.
   * @param {number} t */
  timeEmbedding(t) {
    const { layers, memory } = this;
    const { block_out_channels, flip_sin_to_cos, freq_shift } = this.config;
    const half = block_out_channels[0] / 2;
    const waves = new Float32Array(2 * half);
    for (let i = 0; i < half; i++) {
      const angle = t * Math.exp((-Math.log(10000) * i) / (half - freq_shift));
      waves[i] = flip_sin_to_cos ? Math.cos(angle) : Math.sin(angle);
      waves[half + i] = flip_sin_to_cos ? Math.sin(angle) : Math.cos(angle);
    }
    let time = memory.put(waves, 2 * half, 1, 1);
    for (const name of ["time_embedding.linear_1", "time_embedding.linear_2"]) {
      time = layers.linear(time, name);
      memory.kernels.silu(time.at, time.channels);
    }
    return time;
  }

  /** Pixels look at each other, then at the text, then each thinks for itself.
   * @param {Tensor} x @param {string} name @param {Context} context */
  transformer(x, name, context) {
    const { layers, memory, heads } = this;
    return memory.scoped(() => {
      let h = layers.groupNorm(x, `${name}.norm`, this.config.norm_num_groups, 1e-6, false);
      h = layers.linear(h, `${name}.proj_in`);
      for (let k = 0; layers.has(`${name}.transformer_blocks.${k}.norm1.weight`); k++) {
        const block = `${name}.transformer_blocks.${k}`;
        const qkv = layers.linear(layers.layerNorm(h, `${block}.norm1`), `${block}.attn1.to_qkv`);
        h = layers.linear(layers.selfAttention(qkv, heads), `${block}.attn1.to_out.0`, h);

        const q = layers.linear(layers.layerNorm(h, `${block}.norm2`), `${block}.attn2.to_q`);
        const kv = /** @type {Tensor} */ (context.keysAndValues.get(block));
        const heard = layers.crossAttention(memory.repeated(q, context.n), kv, heads, this.mapsAt(block, q, context));
        h = layers.linear(heard, `${block}.attn2.to_out.0`, h);

        const wide = layers.linear(layers.layerNorm(h, `${block}.norm3`), `${block}.ff.net.0.proj`);
        const gated = memory.tensor(wide.n, wide.height, wide.width, wide.channels / 2);
        memory.kernels.geglu(wide.at, gated.at, rowsOf(gated), gated.channels);
        h = layers.linear(gated, `${block}.ff.net.2`, h);
      }
      return layers.linear(h, `${name}.proj_out`, x);
    });
  }

  /** Where the attention of a layer is added up; 0 where nobody watches.
   * @param {string} block @param {Tensor} q @param {Context} context */
  mapsAt(block, q, context) {
    const sums = context.maps.get(block);
    if (sums) sums.side = q.height;
    return sums?.at ?? 0;
  }

  /** Have the attention of all layers added up, from 0. @param {Context} context */
  watch(context) {
    const { memory, heads } = this;
    const places = this.config.sample_size ** 2;
    for (const [name, kv] of context.keysAndValues) {
      const at = memory.allocate(heads * kv.width * places);
      memory.floats.fill(0, at / 4, at / 4 + heads * kv.width * places);
      context.maps.set(name, { at, heads, tokens: kv.width, side: 0 });
    }
  }
}

/** Pictures to latents and back (Kingma and Welling 2014; Rombach et al. 2022, section 3.1). */
class AutoencoderKL {
  /** @param {Memory} memory @param {any} config */
  constructor(memory, config) {
    this.layers = new Layers(memory, "vae.");
    this.memory = memory;
    this.config = config;
    this.scale = config.scaling_factor;
    this.shift = config.shift_factor ?? 0;
  }

  /** @param {Float32Array} latents (channels, side, side) @param {number} side
   * @returns {Float32Array} pixels (3, height, width) of about -1..1 */
  decode(latents, side) {
    const { layers, memory } = this;
    const { latent_channels, layers_per_block, out_channels } = this.config;
    const before = memory.top;
    const own = latents.map((value) => value / this.scale + this.shift);
    let h = layers.linear(memory.put(own, latent_channels, side, side), "post_quant_conv");
    h = this.middle(layers.convolve(h, "decoder.conv_in"), "decoder");
    for (let k = 0; layers.has(`decoder.up_blocks.${k}.resnets.0.norm1.weight`); k++) {
      for (let j = 0; j <= layers_per_block; j++) h = this.resnet(h, `decoder.up_blocks.${k}.resnets.${j}`);
      const name = `decoder.up_blocks.${k}.upsamplers.0.conv`;
      if (layers.has(`${name}.weight`)) h = memory.scoped(() => layers.convolve(h, name, { doubled: true }));
    }
    h = layers.convolve(this.norm(h, "decoder.conv_norm_out", true), "decoder.conv_out");
    const pixels = memory.take(h, out_channels);
    memory.top = before;
    return pixels;
  }

  /** @param {Float32Array} pixels (3, height, width) of -1..1 @param {number} side of the picture
   * @returns {{mean: Float32Array, std: Float32Array}} of the latents' distribution, not yet scaled */
  encode(pixels, side) {
    const { layers, memory } = this;
    const { latent_channels, layers_per_block, in_channels } = this.config;
    const before = memory.top;
    let h = layers.convolve(memory.put(pixels, in_channels, side, side), "encoder.conv_in");
    for (let k = 0; layers.has(`encoder.down_blocks.${k}.resnets.0.norm1.weight`); k++) {
      for (let j = 0; j < layers_per_block; j++) h = this.resnet(h, `encoder.down_blocks.${k}.resnets.${j}`);
      const name = `encoder.down_blocks.${k}.downsamplers.0.conv`;
      if (layers.has(`${name}.weight`)) h = layers.downsample(h, name, 0);
    }
    h = this.norm(this.middle(h, "encoder"), "encoder.conv_norm_out", true);
    h = layers.linear(layers.convolve(h, "encoder.conv_out"), "quant_conv");
    const both = memory.take(h, 2 * latent_channels);
    memory.top = before;
    const mean = both.slice(0, both.length / 2);
    // The network says the logarithm of the variance; Diffusers keeps it within -30..20.
    const std = both.slice(both.length / 2).map((log) => Math.exp(0.5 * Math.min(20, Math.max(-30, log))));
    return { mean, std };
  }

  /** @param {Tensor} x @param {string} half */
  middle(x, half) {
    const { layers, memory } = this;
    const h = this.resnet(x, `${half}.mid_block.resnets.0`);
    const name = `${half}.mid_block.attentions.0`;
    const seen = memory.scoped(() => {
      const qkv = layers.linear(this.norm(h, `${name}.group_norm`, false), `${name}.to_qkv`);
      return layers.linear(layers.selfAttention(qkv, 1), `${name}.to_out.0`, h);
    });
    return this.resnet(seen, `${half}.mid_block.resnets.1`);
  }

  /** @param {Tensor} x @param {string} name */
  resnet(x, name) {
    return this.layers.resnet(x, name, this.config.norm_num_groups, 1e-6);
  }

  /** @param {Tensor} x @param {string} name @param {boolean} withSilu */
  norm(x, name, withSilu) {
    return this.layers.groupNorm(x, name, this.config.norm_num_groups, 1e-6, withSilu);
  }
}
