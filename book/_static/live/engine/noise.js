// Torch's noise in the page: the same seed gives the same numbers as torch.randn on a CPU.
"use strict";

/**
 * The Mersenne Twister MT19937 of Matsumoto and Nishimura 1998: whole numbers of 32 bits. In the
 * paper's names it has n words of state, m, the middle word, and a, the last row of the matrix A.
 */
class MersenneTwister {
  /** @param {number} seed 0 to 2**32 - 1 */
  constructor(seed) {
    this.state = new Uint32Array(624); // n
    this.state[0] = seed;
    for (let i = 1; i < 624; i++) {
      const last = this.state[i - 1];
      this.state[i] = Math.imul(1812433253, last ^ (last >>> 30)) + i; // their mt19937ar.c of 2002
    }
    this.at = 624;
  }

  /** Equation 2.1: x_{k+n} = x_{k+m} ⊕ (upper bit of x_k | lower bits of x_{k+1}) A, for all n words. */
  twist() {
    const x = this.state;
    for (let k = 0; k < 624; k++) {
      const joined = (x[k] & 0x80000000) | (x[(k + 1) % 624] & 0x7fffffff);
      x[k] = x[(k + 397) % 624] ^ (joined >>> 1) ^ (joined & 1 ? 0x9908b0df : 0); // m = 397, a
    }
    this.at = 0;
  }

  /** The next number, tempered: equations 2.2 to 2.5. */
  next() {
    if (this.at === 624) this.twist();
    let y = this.state[this.at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }
}

/** `torch.Generator().manual_seed(seed)`. */
class Generator {
  /** @param {number} seed 0 to 2**32 - 1 */
  constructor(seed) {
    if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
      throw new Error(`A seed is a whole number from 0 to ${2 ** 32 - 1}, but it is ${seed}.`);
    }
    this.twister = new MersenneTwister(seed);
    /** @type {number | null} the second of two numbers, of which only the first was asked for */
    this.kept = null;
  }

  /**
   * `torch.randn(size, generator=...)` in float32. Calls go on in the stream as torch's do.
   * @param {number} size
   * @returns {Float32Array}
   */
  randn(size) {
    const numbers = new Float32Array(size);
    if (size < 16) {
      for (let i = 0; i < size; i++) numbers[i] = this.one();
      return numbers;
    }
    for (let i = 0; i < size; i++) numbers[i] = this.uniform24();
    for (let i = 0; i + 16 <= size; i += 16) normal16(numbers, i);
    if (size % 16 > 0) {
      // Torch draws the last sixteen anew.
      for (let i = size - 16; i < size; i++) numbers[i] = this.uniform24();
      normal16(numbers, size - 16);
    }
    return numbers;
  }

  /** 0 <= u < 1 of 24 bits, what a float32 holds. */
  uniform24() {
    return (this.twister.next() & 0xffffff) / 2 ** 24;
  }

  /** 0 <= u < 1 of 53 bits, what a float64 holds; the first number drawn is the upper half. */
  uniform53() {
    const upper = this.twister.next();
    const lower = this.twister.next();
    return ((upper & 0x1fffff) * 2 ** 32 + lower) / 2 ** 53;
  }

  /** One normal number. Two come at once, and the second waits for the next call. */
  one() {
    if (this.kept !== null) {
      const kept = this.kept;
      this.kept = null;
      return kept;
    }
    const angle = 2 * Math.PI * this.uniform53();
    const radius = normalRadius(this.uniform53());
    this.kept = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }
}

/**
 * Box and Muller 1958: a radius of √(-2 log(1 - u)) and an angle that is even on the circle give two
 * normal numbers, radius cos(angle) and radius sin(angle). 1 - u is never 0: the logarithm is finite.
 * @param {number} u
 */
const normalRadius = (u) => Math.sqrt(-2 * Math.log(1 - u));

/**
 * Sixteen numbers at once: torch pairs the first eight with the last eight.
 * @param {Float32Array} numbers even ones, which become normal
 * @param {number} start
 */
function normal16(numbers, start) {
  for (let i = start; i < start + 8; i++) {
    const radius = normalRadius(numbers[i]);
    // Torch's 2π is a float32, and so is the product: its rounding is a millionth of the result.
    const angle = Math.fround(Math.fround(2 * Math.PI) * numbers[i + 8]);
    numbers[i] = radius * Math.cos(angle);
    numbers[i + 8] = radius * Math.sin(angle);
  }
}
