// The engine as the page sees it: a worker that draws, and answers by the number of the question.
"use strict";

/**
 * @typedef {{data: Uint8ClampedArray, width: number, height: number}} Picture
 * @typedef {{index: number, of: number, timestep: number, picture?: Picture, x0?: Picture, residual?: Picture}} Step
 * @typedef {{words: {text: string, first: number, last: number, map: Float32Array}[], width: number, height: number}} HeatMaps
 * @typedef {{picture: Picture, milliseconds: number, steps: number, heatMaps: HeatMaps | null}} Result
 * @typedef {{text: string, id: number, known: boolean}} Piece
 * @typedef {{pieces: Piece[], kept: number}} Tokens
 * @typedef {{pixels: Uint8ClampedArray, strength: number, mask: Uint8Array | null}} Start
 * @typedef {{prompt: string, negativePrompt: string, seed: number, steps: number, guidance: number, sampler: string,
 *   start: Start | null, watch: boolean, heatMaps: boolean, model?: string, shift?: number}} Settings
 * @typedef {{resolve: (answer: any) => void, reject: (error: Error) => void, onStep?: (step: Step) => void}} Question
 */

const NO_MEMORY = "There is not enough memory to draw here. Close other tabs, and reload the page.";
const BROKE_DOWN = "What draws here has broken down. Press Draw to start it anew.";

class Engine {
  /**
   * @param {ArrayBuffer} program the worker's text
   * @param {Model} model
   */
  constructor(program, model) {
    this.model = model;
    this.broken = false;
    /** @type {Map<number, Question>} */
    this.questions = new Map();
    this.asked = 0;
    /** @type {Promise<unknown>} settled when the last drawing is: one is drawn after the other */
    this.turn = Promise.resolve();
    // From a blob: a browser opens no worker from a file of a folder.
    const address = URL.createObjectURL(new Blob([program], { type: "text/javascript" }));
    this.worker = new Worker(address);
    this.worker.onmessage = ({ data }) => this.answer(data);
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.end(/memory|allocation/i.test(event.message ?? "") ? NO_MEMORY : BROKE_DOWN);
    };
    this.worker.onmessageerror = () => this.end(BROKE_DOWN);
  }

  /**
   * @param {Record<string, any>} question
   * @param {Transferable[]} [transfer]
   * @param {(step: Step) => void} [onStep]
   * @returns {{id: number, answer: Promise<any>}}
   */
  ask(question, transfer = [], onStep) {
    const id = ++this.asked;
    const answer = new Promise((resolve, reject) => {
      if (this.broken) reject(new Error(BROKE_DOWN));
      this.questions.set(id, { resolve, reject, onStep });
    });
    this.worker.postMessage({ id, ...question }, transfer);
    return { id, answer };
  }

  /** @param {{id: number, step?: Step, done?: any, stopped?: boolean, error?: string}} message */
  answer({ id, step, done, error }) {
    const question = this.questions.get(id);
    if (!question) return;
    if (step) return question.onStep?.(step);
    this.questions.delete(id);
    if (error === undefined)
      question.resolve(done ?? null); // null: it was stopped
    else question.reject(new Error(/memory|allocation/i.test(error) ? NO_MEMORY : error));
  }

  /** @param {string} why */
  end(why) {
    this.broken = true;
    this.worker.terminate();
    for (const { reject } of this.questions.values()) reject(new Error(why));
    this.questions.clear();
  }

  /**
   * Draws when what is drawn now is done.
   * @param {Settings} settings
   * @param {(step: Step) => void} onStep
   * @returns {{result: Promise<Result | null>, stop: () => void}} null where it was stopped
   */
  draw(settings, onStep) {
    let id = 0,
      stopped = false;
    const result = this.turn.then(() => {
      if (stopped) return null;
      const asked = this.ask({ task: "draw", settings }, [], onStep);
      id = asked.id;
      return asked.answer;
    });
    this.turn = result.catch(() => {});
    const stop = () => {
      stopped = true;
      if (id) this.worker.postMessage({ stop: id });
    };
    return { result, stop };
  }

  /**
   * @param {string} prompt
   * @param {string} [model] whose tokens they are
   * @returns {Promise<Tokens>}
   */
  tokens(prompt, model) {
    return this.ask({ task: "tokens", prompt, model }).answer;
  }
}

/** @type {Promise<Engine> | null} */
let engineOfThePage = null;
/** @type {Set<(part: number) => void>} all who wait for it see how far it is */
const waiting = new Set();

/**
 * @param {(part: number) => void} [onProgress]
 * @returns {Promise<Engine>}
 */
async function readyEngine(onProgress) {
  if (onProgress) waiting.add(onProgress);
  const before = engineOfThePage;
  const broken =
    before &&
    (await before.then(
      (engine) => engine.broken,
      () => true,
    ));
  if (broken && engineOfThePage === before) engineOfThePage = null; // nobody else has begun anew meanwhile
  engineOfThePage ??= startEngine();
  try {
    return await engineOfThePage;
  } finally {
    if (onProgress) waiting.delete(onProgress);
  }
}

/** @returns {Promise<Engine>} */
async function startEngine() {
  const manifest = /** @type {Manifest} */ (Live.packed);
  const { engine: program, ...files } = await loadFiles(Live.files(), (part) => {
    for (const tell of waiting) tell(part);
  });
  const models = Live.models().map((name) => {
    const { model, weights } = manifest.models[name];
    const own = { model: files[model], weights: weights.map((one) => files[one]) };
    return [name, { kernels: files.kernels, merges: files.merges, ...own }];
  });
  const engine = new Engine(program, manifest.model);
  try {
    const question = { task: "load", models: Object.fromEntries(models) };
    await engine.ask(question, Object.values(files)).answer;
  } catch (error) {
    engine.end(BROKE_DOWN);
    throw error;
  }
  return engine;
}
