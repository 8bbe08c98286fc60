// One idea: the layers that all three networks are made of, each one call of a kernel.
"use strict";

class Layers {
  /** @param {Memory} memory @param {string} prefix of the network's names in the file of the weights */
  constructor(memory, prefix) {
    this.memory = memory;
    this.prefix = prefix;
    this.kernels = memory.kernels;
  }

  /** @param {string} name */
  has(name) {
    return this.memory.weights.has(this.prefix + name);
  }

  /** @param {string} name */
  weight(name) {
    return this.memory.weight(this.prefix + name);
  }

  /** Where a bias lies; 0, which the kernels know, where there is none. @param {string} name */
  bias(name) {
    return this.has(`${name}.bias`) ? this.weight(`${name}.bias`).at : 0;
  }

  /** A linear layer, which is also a 1x1 convolution: y = x W + bias (+ add).
   * @param {Tensor} x @param {string} name @param {Tensor} [add] */
  linear(x, name, add) {
    const { at, shape } = this.weight(`${name}.weight`);
    const [rows, outputs] = [rowsOf(x), byEights(shape[0])];
    const y = this.memory.tensor(x.n, x.height, x.width, outputs);
    const more = add ? this.memory.repeated(add, x.n).at : 0;
    this.kernels.product(x.at, x.channels, at, this.bias(name), more, outputs, y.at, outputs, rows, outputs, x.channels);
    return y;
  }

  /** A 3x3 convolution, of x or of x with each pixel doubled.
   * @param {Tensor} x @param {string} name
   * @param {{doubled?: boolean, bias?: number, add?: Tensor}} options */
  convolve(x, name, { doubled = false, bias = this.bias(name), add } = {}) {
    const { at, shape } = this.weight(`${name}.weight`);
    const outputs = byEights(shape[0]);
    const scale = doubled ? 2 : 1;
    const y = this.memory.tensor(x.n, x.height * scale, x.width * scale, outputs);
    const more = add ? this.memory.repeated(add, x.n).at : 0;
    this.kernels.convolve(
      x.at, x.n, x.height, x.width, x.channels, doubled ? 1 : 0,
      at, bias, more, y.at, outputs, this.memory.room,
    );
    return y;
  }

  /** A 3x3 convolution at every second pixel, with rows and columns of zeros before the first or not.
   * @param {Tensor} x @param {string} name @param {0 | 1} before */
  downsample(x, name, before) {
    const { at, shape } = this.weight(`${name}.weight`);
    const y = this.memory.tensor(x.n, x.height / 2, x.width / 2, byEights(shape[0]));
    this.kernels.downsample(
      x.at, x.n, x.height, x.width, x.channels, before,
      at, this.bias(name), y.at, y.channels, this.memory.room,
    );
    return y;
  }

  /** @param {Tensor} x @param {string} name @param {number} groups @param {number} epsilon
   * @param {boolean} withSilu */
  groupNorm(x, name, groups, epsilon, withSilu) {
    const y = this.memory.tensor(x.n, x.height, x.width, x.channels);
    const weight = this.weight(`${name}.weight`).at;
    this.kernels.group_norm(
      x.at, x.n, x.height * x.width, x.channels, groups, epsilon,
      weight, this.bias(name), y.at, withSilu ? 1 : 0, this.memory.room,
    );
    return y;
  }

  /** @param {Tensor} x @param {string} name @param {number} epsilon */
  layerNorm(x, name, epsilon = 1e-5) {
    const y = this.memory.tensor(x.n, x.height, x.width, x.channels);
    const weight = this.weight(`${name}.weight`).at;
    this.kernels.layer_norm(x.at, rowsOf(x), x.channels, epsilon, weight, this.bias(name), y.at);
    return y;
  }

  /** Queries, keys and values side by side in one tensor: every place looks at all others.
   * @param {Tensor} qkv @param {number} heads @param {boolean} causal */
  selfAttention(qkv, heads, causal = false) {
    const channels = qkv.channels / 3;
    const y = this.memory.tensor(qkv.n, qkv.height, qkv.width, channels);
    const places = qkv.height * qkv.width;
    for (let i = 0; i < qkv.n; i++) {
      const q = qkv.at + 4 * i * places * qkv.channels;
      this.kernels.attention(
        q, qkv.channels, q + 4 * channels, q + 8 * channels, qkv.channels,
        y.at + 4 * i * places * channels, channels,
        places, places, heads, channels / heads, causal ? 1 : 0, 0, this.memory.room,
      );
    }
    return y;
  }

  /** Every place looks at the tokens of its text. Of the last image the probabilities are added up in
   * maps, if there are any: (heads, tokens, places).
   * @param {Tensor} q @param {Tensor} kv @param {number} heads @param {number} maps */
  crossAttention(q, kv, heads, maps) {
    const { channels } = q;
    const y = this.memory.tensor(q.n, q.height, q.width, channels);
    const [places, tokens] = [q.height * q.width, kv.width];
    for (let i = 0; i < q.n; i++) {
      const [from, keys] = [4 * i * places * channels, kv.at + 4 * i * tokens * kv.channels];
      this.kernels.attention(
        q.at + from, channels, keys, keys + 4 * channels, kv.channels, y.at + from, channels,
        places, tokens, heads, channels / heads, 0, i === q.n - 1 ? maps : 0, this.memory.room,
      );
    }
    return y;
  }

  /** Channels of b behind those of a. @param {Tensor} a @param {Tensor} b */
  concatenate(a, b) {
    const behind = this.memory.repeated(b, a.n);
    const y = this.memory.tensor(a.n, a.height, a.width, a.channels + b.channels);
    this.kernels.concatenate(a.at, a.channels, behind.at, b.channels, y.at, rowsOf(a));
    return y;
  }

  /** norm, SiLU, 3x3, norm, SiLU, 3x3, and what came in on top (He et al. 2016). The time comes in as
   * a bias of the first convolution; the VAE knows none.
   * @param {Tensor} x @param {string} name @param {number} groups @param {number} epsilon
   * @param {Tensor} [time] */
  resnet(x, name, groups, epsilon, time) {
    return this.memory.scoped(() => {
      let h = this.groupNorm(x, `${name}.norm1`, groups, epsilon, true);
      const bias = time ? this.timeBias(time, name) : this.bias(`${name}.conv1`);
      h = this.convolve(h, `${name}.conv1`, { bias });
      h = this.groupNorm(h, `${name}.norm2`, groups, epsilon, true);
      const add = this.has(`${name}.conv_shortcut.weight`)
        ? this.linear(x, `${name}.conv_shortcut`)
        : x;
      return this.convolve(h, `${name}.conv2`, { add });
    });
  }

  /** @param {Tensor} time @param {string} name */
  timeBias(time, name) {
    const bias = this.weight(`${name}.conv1.bias`);
    const add = { at: bias.at, n: 1, height: 1, width: 1, channels: bias.shape[0] };
    return this.linear(time, `${name}.time_emb_proj`, add).at;
  }
}
