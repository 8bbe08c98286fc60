// One idea: the layers that all three networks are made of, each one call
// of a kernel. A layer has its name in Diffusers.
"use strict";

class Layers {
  /** @param {Memory} memory
   * @param {string} network whose name stands before all others */
  constructor(memory, network) {
    this.memory = memory;
    this.network = network;
    this.kernels = memory.kernels;
    this.names = [...memory.weights.keys()];
  }

  /** @param {string} name */
  has(name) {
    return this.memory.weights.has(`${this.network}.${name}.weight`);
  }

  /** Where weights or a bias lie, and their shape.
   * @param {string} name */
  weight(name) {
    return this.memory.weight(`${this.network}.${name}`);
  }

  /** 0, which the kernels know, where there is no bias.
   * @param {string} name */
  bias(name) {
    const found = `${this.network}.${name}.bias`;
    return this.memory.weights.get(found)?.at ?? 0;
  }

  /** name.0, name.1, ...: as many as there are in the model.
   * @param {string} name */
  list(name) {
    const found = [];
    const next = () => `${name}.${found.length}`;
    const isThere = (/** @type {string} */ weight) =>
      weight.startsWith(`${this.network}.${next()}.`);
    while (this.names.some(isThere)) found.push(next());
    return found;
  }

  /** A layer's weights, which must take what x has: the kernels would
   * read on in whatever lies behind them.
   * @param {string} name @param {Tensor} x */
  matrix(name, x) {
    const found = this.weight(`${name}.weight`);
    if (byEights(found.shape[1]) !== x.channels)
      throw new Error(`${this.network}.${name} has another size.`);
    return found;
  }

  /** y = x W + bias (+ add): a linear layer, or a 1x1 convolution.
   * @param {Tensor} x @param {string} name @param {Tensor} [add] */
  linear(x, name, add) {
    const { at, shape } = this.matrix(name, x);
    const [rows, wide] = [rowsOf(x), byEights(shape[0])];
    const y = this.memory.like(x, { channels: wide });
    const more = add ? this.memory.repeated(add, x.n).at : 0;
    this.kernels.product(
      x.at, x.channels, at, this.bias(name), more, wide,
      y.at, wide, rows, wide, x.channels,
    );
    return y;
  }

  /** A 3x3 convolution, of x or of x with each pixel doubled.
   * @param {Tensor} x @param {string} name
   * @param {{doubled?: boolean, bias?: number, add?: Tensor}} options */
  convolve(x, name, { doubled = false, bias, add } = {}) {
    const { at, shape } = this.matrix(name, x);
    const [scale, channels] = [doubled ? 2 : 1, byEights(shape[0])];
    const [height, width] = [x.height * scale, x.width * scale];
    const y = this.memory.like(x, { height, width, channels });
    const more = add ? this.memory.repeated(add, x.n).at : 0;
    this.kernels.convolve(
      x.at, x.n, x.height, x.width, x.channels, Number(doubled),
      at, bias ?? this.bias(name), more, y.at, channels, this.memory.room,
    );
    return y;
  }

  /** A 3x3 convolution at every second pixel.
   * @param {Tensor} x @param {string} name
   * @param {0 | 1} before rows of zeros above, columns on the left */
  downsample(x, name, before) {
    const { at, shape } = this.matrix(name, x);
    const [height, width] = [x.height / 2, x.width / 2];
    const channels = byEights(shape[0]);
    const y = this.memory.like(x, { height, width, channels });
    this.kernels.downsample(
      x.at, x.n, x.height, x.width, x.channels, before,
      at, this.bias(name), y.at, channels, this.memory.room,
    );
    return y;
  }

  /** @param {Tensor} x @param {string} name @param {number} groups
   * @param {number} epsilon @param {boolean} withSilu */
  groupNorm(x, name, groups, epsilon, withSilu) {
    const y = this.memory.like(x);
    const weight = this.weight(`${name}.weight`).at;
    this.kernels.group_norm(
      x.at, x.n, x.height * x.width, x.channels, groups, epsilon,
      weight, this.bias(name), y.at, Number(withSilu), this.memory.room,
    );
    return y;
  }

  /** @param {Tensor} x @param {string} name @param {number} epsilon */
  layerNorm(x, name, epsilon = 1e-5) {
    const y = this.memory.like(x);
    const weight = this.weight(`${name}.weight`).at;
    this.kernels.layer_norm(
      x.at, rowsOf(x), x.channels, epsilon,
      weight, this.bias(name), y.at,
    );
    return y;
  }

  /** Every place looks at all others, or at none behind its own.
   * @param {Tensor} qkv queries, keys and values side by side
   * @param {number} heads @param {boolean} causal */
  selfAttention(qkv, heads, causal = false) {
    const [channels, step] = [qkv.channels / 3, qkv.channels];
    const y = this.memory.like(qkv, { channels });
    const places = qkv.height * qkv.width;
    for (let i = 0; i < qkv.n; i++) {
      const q = qkv.at + 4 * i * places * step;
      const out = y.at + 4 * i * places * channels;
      this.kernels.attention(
        q, step, q + 4 * channels, q + 8 * channels, step, out, channels,
        places, places, heads, channels / heads, Number(causal),
        0, this.memory.room,
      );
    }
    return y;
  }

  /** Every place looks at the tokens of its text.
   * @param {Tensor} q @param {Tensor} kv keys and values side by side
   * @param {number} heads
   * @param {number} maps where the last image's probabilities are added
   *   up, (heads, tokens, places); 0 for nowhere */
  crossAttention(q, kv, heads, maps) {
    const { channels } = q;
    const y = this.memory.like(q);
    const [places, tokens] = [q.height * q.width, kv.width];
    for (let i = 0; i < q.n; i++) {
      const own = 4 * i * places * channels;
      const keys = kv.at + 4 * i * tokens * kv.channels;
      this.kernels.attention(
        q.at + own, channels, keys, keys + 4 * channels, kv.channels,
        y.at + own, channels,
        places, tokens, heads, channels / heads, 0,
        i === q.n - 1 ? maps : 0, this.memory.room,
      );
    }
    return y;
  }

  /** @param {Tensor} x @param {string} name */
  geglu(x, name) {
    const wide = this.linear(x, name);
    const y = this.memory.like(x, { channels: wide.channels / 2 });
    this.kernels.geglu(wide.at, y.at, rowsOf(y), y.channels);
    return y;
  }

  /** Channels of b behind those of a.
   * @param {Tensor} a @param {Tensor} b */
  concatenate(a, b) {
    const more = this.memory.repeated(b, a.n);
    const channels = a.channels + b.channels;
    const y = this.memory.like(a, { channels });
    this.kernels.concatenate(
      a.at, a.channels, more.at, b.channels, y.at, rowsOf(a),
    );
    return y;
  }

  /** norm, SiLU, 3x3, norm, SiLU, 3x3, and what came in on top (He et al.
   * 2016). The time comes in with the first bias; the VAE knows none.
   * @param {Tensor} x @param {string} name @param {number} groups
   * @param {number} epsilon @param {Tensor} [time] */
  resnet(x, name, groups, epsilon, time) {
    return this.memory.scoped(() => {
      const bias = time && this.timeBias(time, name);
      let h = this.groupNorm(x, `${name}.norm1`, groups, epsilon, true);
      h = this.convolve(h, `${name}.conv1`, { bias });
      h = this.groupNorm(h, `${name}.norm2`, groups, epsilon, true);
      const shortcut = `${name}.conv_shortcut`;
      const add = this.has(shortcut) ? this.linear(x, shortcut) : x;
      return this.convolve(h, `${name}.conv2`, { add });
    });
  }

  /** What the time says to a block, and the bias of its first layer.
   * @param {Tensor} time @param {string} name */
  timeBias(time, name) {
    const { at, shape } = this.weight(`${name}.conv1.bias`);
    const bias = { at, n: 1, height: 1, width: 1, channels: shape[0] };
    return this.linear(time, `${name}.time_emb_proj`, bias).at;
  }
}
