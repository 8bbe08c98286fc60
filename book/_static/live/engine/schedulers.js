// The sampler that fits a model: by name, from its scheduler_config.json and the number of steps.
"use strict";

/** @type {Record<string, {kind: typeof DDPM | typeof DDIM | typeof DPMSolver, spacing: "leading" | "linspace"}>} */
const SAMPLERS = {
  ddpm: { kind: DDPM, spacing: "leading" },
  ddim: { kind: DDIM, spacing: "leading" },
  "dpm++2m": { kind: DPMSolver, spacing: "linspace" },
  unipc: { kind: UniPC, spacing: "linspace" },
};

/**
 * The sampler that Diffusers' from_config makes of a model's configuration, each with its own
 * spacing of timesteps, and without clipping, since latents are larger than -1..1.
 * @param {string} name one of SAMPLERS
 * @param {SchedulerConfig} config
 * @param {number} numSteps
 * @returns {DDPM | DDIM | DPMSolver | UniPC}
 */
function makeScheduler(name, config, numSteps) {
  if (!Object.keys(SAMPLERS).includes(name)) {
    throw new Error(
      `There is no sampler "${name}"; choose one of ${Object.keys(SAMPLERS).join(", ")}.`,
    );
  }
  refuseOthers(config);
  const { kind, spacing } = SAMPLERS[name];
  const { num_train_timesteps: total, steps_offset: offset = 0 } = config;
  const most = spacing === "leading" ? total - offset : total - 1;
  if (!Number.isInteger(numSteps) || numSteps < 1 || numSteps > most) {
    throw new Error(
      `The number of steps is 1 to ${most} with this sampler, but it is ${numSteps}.`,
    );
  }
  const table = alphasCumprod(config);
  if (spacing === "linspace" && config.use_karras_sigmas) {
    const { timesteps, alphaBar } = karrasLevels(table, numSteps);
    return new kind(timesteps, [...alphaBar, 1]);
  }
  const timesteps = spacedTimesteps(spacing, total, numSteps, offset);
  // At the end no noise is left; DDIM can be told to end where training's first timestep is.
  const end = name === "ddim" && config.set_alpha_to_one === false ? table[0] : 1;
  return new kind(timesteps, [...timesteps.map((t) => table[t]), end]);
}

/** @param {SchedulerConfig} config */
function refuseOthers(config) {
  const known = {
    beta_schedule: ["scaled_linear", "linear"],
    prediction_type: ["epsilon", undefined],
    variance_type: ["fixed_small", undefined, null],
    thresholding: [false, undefined],
    rescale_betas_zero_snr: [false, undefined],
    trained_betas: [null, undefined],
  };
  for (const [key, values] of Object.entries(known)) {
    const value = /** @type {Record<string, any>} */ (config)[key];
    if (!(/** @type {any[]} */ (values).includes(value))) {
      throw new Error(
        `These samplers are not for a model whose scheduler has ${key} = ${JSON.stringify(value)}.`,
      );
    }
  }
}

/**
 * The step at which image to image and inpainting begin: only strength × steps are taken, rounded
 * down.
 * @param {number} numSteps
 * @param {number} strength 0 to 1
 */
function firstStep(numSteps, strength) {
  const taken = Math.floor(numSteps * strength);
  if (!(taken >= 1 && strength <= 1)) {
    throw new Error(
      `Strength ${strength} of ${numSteps} steps is no step: take more steps, or a strength nearer to 1.`,
    );
  }
  return numSteps - taken;
}
