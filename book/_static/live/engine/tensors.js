// One idea: all numbers lie in one WebAssembly memory, where the kernels
// read and write them.
"use strict";

/**
 * Rows of channels in memory: one for each pixel of n images, or for
 * each token of n texts, whose height is 1. Channels are padded with
 * zeros to a multiple of 8.
 * @typedef {{at: number, n: number, height: number, width: number,
 *   channels: number}} Tensor
 */

/** @param {number} channels */
const byEights = (channels) => Math.ceil(channels / 8) * 8;
/** @param {Tensor} x */
const rowsOf = (x) => x.n * x.height * x.width;

class Memory {
  /**
   * @param {ArrayBuffer} wasm kernels.wasm
   * @param {ArrayBuffer[]} weights safetensors files, all of them in
   * half precision
   */
  constructor(wasm, weights) {
    this.memory = new WebAssembly.Memory({ initial: 256 });
    const module = new WebAssembly.Module(wasm);
    const instance = new WebAssembly.Instance(module, {
      env: { memory: this.memory },
    });
    /** @type {Record<string, Function>} */
    this.kernels = /** @type {any} */ (instance.exports);
    this.top = /** @type {any} */ (instance.exports).__heap_base.value;
    this.floats = new Float32Array(this.memory.buffer);
    /** @type {Map<string, {at: number, shape: number[]}>} */
    this.weights = new Map();
    this.room = 0;
    for (const file of weights) this.loadWeights(file);
  }

  /** One scratch for all layers: the kernels leave nothing in it between
   * two calls.
   * @param {number} count of floats that the largest of them needs */
  setRoom(count) {
    this.room = this.allocate(count);
  }

  /** Room for so many floats, and where it begins. It grows as needed,
   * and is not cleared.
   * @param {number} count */
  allocate(count) {
    const at = (this.top + 63) & ~63;
    this.top = at + 4 * count;
    const lacking = this.top - this.memory.buffer.byteLength;
    if (lacking > 0) {
      this.memory.grow(Math.ceil(lacking / 65536) + 64);
      this.floats = new Float32Array(this.memory.buffer);
    }
    return at;
  }

  /** @param {number} n @param {number} height @param {number} width
   * @param {number} channels @returns {Tensor} */
  tensor(n, height, width, channels) {
    const at = this.allocate(n * height * width * channels);
    return { at, n, height, width, channels };
  }

  /** A tensor of the same shape but for the changes.
   * @param {Tensor} x @param {Partial<Tensor>} changes */
  like(x, changes = {}) {
    const { n, height, width, channels } = { ...x, ...changes };
    return this.tensor(n, height, width, channels);
  }

  /** Keep what the body gives, and take back the room of all that it made
   * on the way.
   * @param {() => Tensor} body */
  scoped(body) {
    const before = this.top;
    const made = body();
    const size = rowsOf(made) * made.channels;
    this.top = before;
    const kept = { ...made, at: this.allocate(size) };
    this.floats.copyWithin(kept.at / 4, made.at / 4, made.at / 4 + size);
    return kept;
  }

  /** Every image n times, where there are fewer: both halves of guidance
   * begin with the same.
   * @param {Tensor} x @param {number} n */
  repeated(x, n) {
    if (x.n === n) return x;
    const y = this.tensor(n, x.height, x.width, x.channels);
    const size = (rowsOf(x) / x.n) * x.channels;
    for (let i = 0; i < n; i++) {
      const from = x.at / 4 + (i % x.n) * size;
      this.floats.copyWithin(y.at / 4 + i * size, from, from + size);
    }
    return y;
  }

  /** (channels, height, width), as PyTorch has it, into rows of channels.
   * @param {Float32Array} values @param {number} channels
   * @param {number} height @param {number} width */
  put(values, channels, height, width) {
    const x = this.tensor(1, height, width, byEights(channels));
    const pixels = height * width;
    this.floats.fill(0, x.at / 4, x.at / 4 + pixels * x.channels);
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < pixels; i++)
        this.floats[x.at / 4 + i * x.channels + c] =
          values[c * pixels + i];
    return x;
  }

  /** The other way, for one of the images.
   * @param {Tensor} x @param {number} channels @param {number} image */
  take(x, channels, image = 0) {
    const pixels = x.height * x.width;
    const values = new Float32Array(channels * pixels);
    const start = x.at / 4 + image * pixels * x.channels;
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < pixels; i++)
        values[c * pixels + i] = this.floats[start + i * x.channels + c];
    return values;
  }

  /** @param {string} name */
  weight(name) {
    const found = this.weights.get(name);
    if (!found) throw new Error(`The model's file has no ${name}.`);
    return found;
  }

  /** safetensors: 8 bytes say how long the header is, which says in JSON
   * where each tensor lies. @param {ArrayBuffer} file */
  loadWeights(file) {
    const size = Number(new DataView(file).getBigUint64(0, true));
    const text = new TextDecoder().decode(new Uint8Array(file, 8, size));
    const { __metadata__, ...tensors } = JSON.parse(text);
    /** @type {[string, {dtype: string, shape: number[],
     *   data_offsets: number[]}][]} */
    const entries = Object.entries(tensors);
    // The file lies behind all weights for a moment.
    let packed = 0;
    for (const [name, { shape }] of entries)
      packed += sizeInMemory(name, shape) + 16;
    const here = this.top;
    const halves = this.allocate(packed) + 4 * packed;
    this.allocate(file.byteLength / 4);
    const numbers = new Uint8Array(file, 8 + size);
    new Uint8Array(this.memory.buffer).set(numbers, halves);
    this.top = here;
    for (const [name, { dtype, shape, data_offsets }] of entries) {
      if (dtype !== "F16")
        throw new Error(`${name} is ${dtype}: export writes F16.`);
      const at = this.allocate(sizeInMemory(name, shape));
      this.pack(name, shape, halves + data_offsets[0], at);
      this.weights.set(name, { at, shape });
    }
  }

  /** @param {string} name @param {number[]} shape
   * @param {number} from halves @param {number} to floats */
  pack(name, shape, from, to) {
    const [outputs, inputs = 1, ...taps] = shape;
    if (shape.length === 1 || isTable(name)) {
      const end = to / 4 + sizeInMemory(name, shape);
      this.floats.fill(0, to / 4, end);
      this.kernels.unpack_halves(from, to, outputs * inputs);
    } else if (isWinograd(name, shape))
      this.kernels.pack_winograd(from, to, outputs, inputs);
    else
      this.kernels.pack_weights(from, to, outputs, inputs, product(taps));
  }
}

/** @param {number[]} numbers */
const product = (numbers) => numbers.reduce((a, b) => a * b, 1);

/** Embeddings are looked up, not multiplied. @param {string} name */
const isTable = (name) => /(embedding\.weight|pos_embed)$/.test(name);

/** 3x3 convolutions, but for those that leave out every second pixel.
 * @param {string} name @param {number[]} shape */
const isWinograd = (name, shape) =>
  shape[2] === 3 && !name.includes("downsamplers");

/** How many floats a weight takes once it is packed.
 * @param {string} name @param {number[]} shape */
function sizeInMemory(name, shape) {
  const [outputs, inputs = 1, ...taps] = shape;
  if (shape.length === 1) return byEights(outputs);
  const matrices = isWinograd(name, shape) ? 16 : product(taps);
  return byEights(outputs) * byEights(inputs) * matrices;
}
