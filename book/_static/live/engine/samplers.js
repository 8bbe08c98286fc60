// Samplers as plain steps, each one paper's update written out: DDPM, DDIM, DPM++ 2M and UniPC.
"use strict";

/**
 * A sum of arrays, each times a number: combine([2, x], [-1, y]) is 2x - y.
 * @param {...[number, Float32Array]} terms
 */
function combine(...terms) {
  const sum = new Float32Array(terms[0][1].length);
  for (let k = 0; k < sum.length; k++) {
    let value = 0;
    for (const [factor, array] of terms) value += factor * array[k];
    sum[k] = value;
  }
  return sum;
}

/** What all samplers share: where their steps begin, and how noisy it is there. */
class Sampler {
  /**
   * @param {number[]} timesteps from noisy to clean
   * @param {number[]} alphaBar ᾱ there, and one more at the end of the last step
   */
  constructor(timesteps, alphaBar) {
    this.timesteps = timesteps;
    this.alphaBar = alphaBar;
    this.begin = 0;
  }

  /**
   * Begin at step i, as image to image does.
   * @param {number} i
   */
  startAt(i) {
    if (!(i in this.timesteps)) {
      throw new Error(`There are ${this.timesteps.length} steps, from 0 on, but no step ${i}.`);
    }
    this.begin = i;
  }

  /**
   * Ho et al. 2020, equation 15: the clean latents that the noise leaves.
   * @param {Float32Array} noiseResidual
   * @param {number} i index of the step
   * @param {Float32Array} latents
   */
  predictX0(noiseResidual, i, latents) {
    const alphaBar = this.alphaBar[i];
    // x_0 = (x_t - √(1 - ᾱ_t) ε) / √ᾱ_t
    const scale = 1 / Math.sqrt(alphaBar);
    return combine([scale, latents], [-scale * Math.sqrt(1 - alphaBar), noiseResidual]);
  }

  /**
   * Ho et al. 2020, equation 4: x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε.
   * @param {Float32Array} clean
   * @param {Float32Array} noise
   * @param {number} timestep one of the timesteps
   */
  addNoise(clean, noise, timestep) {
    // Karras' steps may share a timestep: the one where the steps begin is meant.
    const begins = this.timesteps[this.begin] === timestep;
    const i = begins ? this.begin : this.timesteps.indexOf(timestep);
    if (i < 0) throw new Error(`No step begins at timestep ${timestep}.`);
    const alphaBar = this.alphaBar[i];
    return combine([Math.sqrt(alphaBar), clean], [Math.sqrt(1 - alphaBar), noise]);
  }
}

/** Ho et al. 2020, algorithm 2, with fresh noise in each step. */
class DDPM extends Sampler {
  /**
   * @param {Float32Array} noiseResidual
   * @param {number} i
   * @param {Float32Array} latents
   * @param {Generator} generator
   */
  step(noiseResidual, i, latents, generator) {
    const x0 = this.predictX0(noiseResidual, i, latents);
    const [alphaBar, next] = [this.alphaBar[i], this.alphaBar[i + 1]];
    // Equation 4 defines ᾱ_t as the product of all α up to t, and α_t = 1 - β_t. It is rounded as in torch,
    // which is seen in β where that is small.
    const alpha = Math.fround(alphaBar / next);
    const beta = 1 - alpha;
    // Equation 7: μ̃_t = √ᾱ_{t-1} β_t / (1 - ᾱ_t) x_0 + √α_t (1 - ᾱ_{t-1}) / (1 - ᾱ_t) x_t
    const ofX0 = (Math.sqrt(next) * beta) / (1 - alphaBar);
    const ofLatents = (Math.sqrt(alpha) * (1 - next)) / (1 - alphaBar);
    // Diffusers draws noise at every timestep but 0, also where it then counts for nothing.
    if (this.timesteps[i] === 0) return combine([ofX0, x0], [ofLatents, latents]);
    // Equation 7: β̃_t = (1 - ᾱ_{t-1}) / (1 - ᾱ_t) β_t
    const variance = ((1 - next) / (1 - alphaBar)) * beta;
    const noise = generator.randn(latents.length);
    return combine([ofX0, x0], [ofLatents, latents], [Math.sqrt(variance), noise]);
  }
}

/** Song et al. 2021, equation 12, with no fresh noise. The paper writes α for what is ᾱ here. */
class DDIM extends Sampler {
  /**
   * @param {Float32Array} noiseResidual
   * @param {number} i
   * @param {Float32Array} latents
   */
  step(noiseResidual, i, latents) {
    const x0 = this.predictX0(noiseResidual, i, latents);
    const next = this.alphaBar[i + 1];
    // x_{t-1} = √ᾱ_{t-1} x_0 + √(1 - ᾱ_{t-1}) ε
    return combine([Math.sqrt(next), x0], [Math.sqrt(1 - next), noiseResidual]);
  }
}

/**
 * Lu et al. 2022, "DPM-Solver++", algorithm 2, called 2M: order 2, from this step's x_0 and the
 * last one's. With √ᾱ for the paper's α, σ = √(1 - ᾱ), λ = log(√ᾱ/σ) and h = λ_t - λ_s, a step
 * from s to t is
 *
 *     x_t = σ_t/σ_s x_s - √ᾱ_t (e^-h - 1) D
 *
 * with D = x_0 if the predicted x_0 stays the same on the way, or a D that goes on as x_0 did in the
 * step before.
 */
class DPMSolver extends Sampler {
  /**
   * @param {number[]} timesteps
   * @param {number[]} alphaBar
   */
  constructor(timesteps, alphaBar) {
    super(timesteps, alphaBar);
    this.signal = alphaBar.map(Math.sqrt);
    this.sigma = alphaBar.map((a) => Math.sqrt(1 - a));
    this.lambda = this.signal.map((signal, i) => Math.log(signal / this.sigma[i])); // infinite at the end
    /** @type {Float32Array} */
    this.lastX0 = new Float32Array(0);
  }

  /**
   * x_t = σ_t/σ_s x_s - √ᾱ_t (e^-h - 1) D, from level i to i + 1.
   * @param {Float32Array} latents
   * @param {number} i
   * @param {Float32Array} D
   */
  advance(latents, i, D) {
    const shrink = Math.expm1(this.lambda[i] - this.lambda[i + 1]); // e^-h - 1
    return combine([this.sigma[i + 1] / this.sigma[i], latents], [-this.signal[i + 1] * shrink, D]);
  }

  /**
   * @param {Float32Array} noiseResidual
   * @param {number} i
   * @param {Float32Array} latents
   */
  step(noiseResidual, i, latents) {
    return this.predict(this.predictX0(noiseResidual, i, latents), i, latents);
  }

  /**
   * @param {Float32Array} x0
   * @param {number} i
   * @param {Float32Array} latents
   */
  predict(x0, i, latents) {
    let D = x0;
    // The first and the last step go straight.
    if (i > this.begin && i < this.timesteps.length - 1) {
      const { lambda } = this;
      // D = (1 + 1/(2r)) x_0 - 1/(2r) times the last x_0, with r = h_last / h
      const r = (lambda[i] - lambda[i - 1]) / (lambda[i + 1] - lambda[i]);
      D = combine([1 + 0.5 / r, x0], [-0.5 / r, this.lastX0]);
    }
    this.lastX0 = x0;
    return this.advance(latents, i, D);
  }
}

/**
 * UniPC of order 2, Zhao et al. 2023, with the paper's B(h) = e^-h - 1. Its UniP is DPM++ 2M's step.
 * Its UniC does the same step again, once the UNet has spoken at the end of it: D then also knows
 * that x_0.
 */
class UniPC extends DPMSolver {
  /**
   * @param {number[]} timesteps
   * @param {number[]} alphaBar
   */
  constructor(timesteps, alphaBar) {
    super(timesteps, alphaBar);
    /** @type {Float32Array} the corrected latents that the last step went from */
    this.startedFrom = new Float32Array(0);
    /** @type {Float32Array} x_0 of the last step but one */
    this.pastX0 = new Float32Array(0);
  }

  /**
   * @param {Float32Array} noiseResidual
   * @param {number} i
   * @param {Float32Array} latents
   */
  step(noiseResidual, i, latents) {
    const x0 = this.predictX0(noiseResidual, i, latents);
    this.startedFrom = i > this.begin ? this.correct(x0, i) : latents;
    this.pastX0 = this.lastX0;
    return this.predict(x0, i, this.startedFrom);
  }

  /**
   * From level i - 1 to level i again, x_0 of both ends and of the step before known.
   * @param {Float32Array} x0 at the end
   * @param {number} i
   */
  correct(x0, i) {
    const before = i - 1 > this.begin;
    const [toPast, toEnd] = correctorWeights(this.lambda.slice(before ? i - 2 : i - 1, i + 1));
    // D = x_0(s) + ρ_1 D_1 / r_1 + ρ_2 D_2 / r_2, with how much x_0 differs before, D_1, and at the end, D_2
    const last = /** @type {[number, Float32Array]} */ ([1 - toPast - toEnd, this.lastX0]);
    const D = before
      ? combine(last, [toPast, this.pastX0], [toEnd, x0])
      : combine(last, [toEnd, x0]);
    return this.advance(this.startedFrom, i - 1, D);
  }
}

/**
 * UniC's weights ρ_m / r_m of x_0 before a step and at its end, for λ of before (if there is one),
 * start and end. The sum of differences is right for an x_0 that goes as r and as r², r from 0 to 1
 * over the step, if, for n = 1 and 2,
 *
 *     Σ_m ρ_m r_m^{n-1} = b_n = -h n! φ_{n+1}(-h) / B(h)
 *
 * with φ_1(z) = (e^z - 1) / z and φ_{n+1}(z) = (φ_n(z) - 1/n!) / z.
 *
 * @param {number[]} lambda
 */
function correctorWeights(lambda) {
  if (lambda.length === 2) return [0, 0.5];
  const h = lambda[2] - lambda[1];
  const r1 = (lambda[0] - lambda[1]) / h; // negative; r_2 = 1 is the end
  const B = Math.expm1(-h); // which is -h φ_1(-h)
  const hPhi2 = B / -h - 1; // -h φ_2(-h) = φ_1(-h) - 1
  const hPhi3 = hPhi2 / -h - 0.5; // -h φ_3(-h) = φ_2(-h) - 1/2
  const b1 = hPhi2 / B;
  const b2 = (2 * hPhi3) / B;
  // ρ_1 + ρ_2 = b_1 and r_1 ρ_1 + ρ_2 = b_2
  const rho1 = (b1 - b2) / (1 - r1);
  return [rho1 / r1, b1 - rho1];
}
