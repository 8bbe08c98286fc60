// On every page: finds the places where the book draws, gives each a button, and loads what draws when it is pressed.
// All by <script src>, which works over http and from a folder alike.
"use strict";

/**
 * @typedef {{pieces: number, bytes: number, base64: number, size: number}} Packed a file in pieces: bytes when unpacked,
 *   size of its scripts
 * @typedef {{model: string, weights: string[]}} Parts the files of a model, besides those that all need
 * @typedef {{steps: number, guidance: number, sampler: string, shift: number}} Defaults
 * @typedef {{size: number, latents: number, samplers: string[], objects: string[], backgrounds: string[], relations: string[],
 *   defaults: Defaults}} Model
 * @typedef {{files: Record<string, Packed>, models: Record<string, Parts>, version: string, model: Model}} Manifest
 */

const Live = {
  // Where these scripts lie, whatever the page.
  base: new URL(".", /** @type {HTMLScriptElement} */ (document.currentScript).src).href,

  BROKEN:
    "A part of the model could not be read, so nothing can be drawn here. Reload the page to try again.",

  /** @type {Manifest | null} what there is to load; pieces/manifest.js says it */
  packed: null,

  /** @param {Manifest} manifest */
  manifest(manifest) {
    Live.packed = manifest;
  },

  /** What this browser lacks, as a sentence, or "". */
  missing() {
    // The smallest module that uses SIMD: a function that gives a vector of zeros.
    const simd = [
      0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253,
      15, 253, 98, 11,
    ];
    if (!window.WebAssembly?.validate(new Uint8Array(simd))) {
      return "To draw here yourself takes WebAssembly with SIMD, which this browser does not have.";
    }
    if (!window.Worker || !window.DecompressionStream) {
      return "To draw here yourself takes a newer browser: this one cannot unpack the model.";
    }
    return "";
  },

  /** @type {Map<string, Promise<void>>} */
  scripts: new Map(),

  /**
   * Loads a script of this folder once. After a failure it can be asked for again.
   * @param {string} path
   * @returns {Promise<void>}
   */
  script(path) {
    const asked = Live.scripts.get(path);
    if (asked) return asked;
    /** @type {Promise<void>} */
    const loaded = new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${Live.base}${path}${Live.packed ? `?v=${Live.packed.version}` : ""}`;
      script.addEventListener("load", () => {
        script.remove();
        resolve();
      });
      script.addEventListener("error", () => {
        script.remove();
        Live.scripts.delete(path);
        reject(new Error(Live.BROKEN));
      });
      document.head.append(script);
    });
    Live.scripts.set(path, loaded);
    return loaded;
  },

  /** The scripts that all kinds of stages need, in their order. */
  COMMON: [
    "label.js",
    "parts.js",
    "controls.js",
    "captions.js",
    "prompt.js",
    "wish.js",
    "film.js",
    "pieces.js",
    "engine.js",
    "stage.js",
  ],

  /** Those that one kind needs besides, before its own.
   * @type {Record<string, string[]>} */
  OWN: {
    paint: ["palette.js", "picks.js", "painting.js", "sheet.js", "easel.js", "paint-box.js"],
    words: ["heat.js", "word-lights.js"],
    flow: ["path.js"],
  },

  /** The models that one kind draws with, where it is not the zoo's Stable Diffusion alone.
   * @type {Record<string, string[]>} */
  MODELS: {
    flow: ["stable-diffusion", "flow"],
  },

  /** The models that the stages of this page draw with: one engine is for all of them. */
  models() {
    const kinds = Array.from(document.querySelectorAll(".companion-stage"), (figure) =>
      figure.getAttribute("data-stage"),
    );
    return [...new Set(kinds.flatMap((kind) => Live.MODELS[kind ?? ""] ?? ["stable-diffusion"]))];
  },

  /** The packed files that this page needs, by name. */
  files() {
    const { files, models } = /** @type {Manifest} */ (Live.packed);
    const parts = Live.models().flatMap((name) => [models[name].model, ...models[name].weights]);
    const names = new Set(["engine", "kernels", "merges", ...parts]);
    return Object.fromEntries([...names].map((name) => [name, files[name]]));
  },

  /**
   * Loads the scripts and the model, and puts the stage in the place of the stored figure.
   * @param {HTMLElement} figure
   * @param {(part: number) => void} onProgress
   */
  async open(figure, onProgress) {
    const kind = figure.dataset.stage ?? "";
    for (const name of [...Live.COMMON, ...(Live.OWN[kind] ?? []), `stage-${kind}.js`])
      await Live.script(name);
    await Live.ready(onProgress);
    openStage(figure);
    // It is there for the other stages of the page, too.
    for (const button of document.querySelectorAll(".live-open"))
      button.textContent = Live.invitation(button.closest("figure"));
  },

  /**
   * The engine: one for the page. It is loaded once, and again where that failed or it broke down.
   * @param {(part: number) => void} [onProgress]
   * @returns {Promise<Engine>}
   */
  async ready(onProgress) {
    return readyEngine(onProgress);
  },

  /** @param {HTMLElement | null} figure */
  invitation(figure) {
    const verbs = new Map([
      ["tokens", "Type"],
      ["paint", "Paint"],
    ]);
    return `${verbs.get(figure?.dataset.stage ?? "") ?? "Draw"} here yourself`;
  },

  /**
   * The button below a stored figure.
   * @param {HTMLElement} figure
   */
  offer(figure) {
    const note = /** @type {HTMLElement} */ (figure.querySelector(".stage-note"));
    const button = document.createElement("button");
    const status = document.createElement("p");
    const progress = document.createElement("progress");
    const bytes = Object.values(Live.files()).reduce((sum, { size }) => sum + size, 0);
    button.type = "button";
    button.className = "live-open";
    button.textContent = `${Live.invitation(figure)} (${(bytes / 1e6).toFixed(1)} MB)`;
    status.className = "live-status";
    status.setAttribute("role", "status");
    progress.setAttribute("aria-label", "How much of the model is loaded");
    note.replaceWith(button, status);
    button.addEventListener("click", async () => {
      if (button.getAttribute("aria-disabled") === "true") return;
      button.setAttribute("aria-disabled", "true"); // disabled, it would lose the focus
      status.textContent = "Loading the model.";
      progress.value = 0;
      status.after(progress);
      try {
        await Live.open(figure, (part) => {
          progress.value = part;
          const quarters = Math.floor(4 * part);
          const words = [
            "Loading the model.",
            "A quarter is here.",
            "Half of it is here.",
            "Three quarters are here.",
          ];
          const said = words[quarters] ?? "Unpacking it.";
          if (status.textContent !== said) status.textContent = said; // a reader of screens says only what is new
        });
        button.remove();
        status.remove();
      } catch (error) {
        // Sentences are plain errors; others come of a script that was cut short.
        const said = error instanceof Error && error.constructor === Error;
        status.textContent = said ? error.message : Live.BROKEN;
        figure.querySelector(".live-stage")?.remove(); // half made
        button.removeAttribute("aria-disabled");
      }
      progress.remove();
    });
  },

  /** What the page does by itself. */
  async begin() {
    /** @type {HTMLElement[]} */
    const figures = [...document.querySelectorAll(".companion-stage")].map(
      (one) => /** @type {HTMLElement} */ (one),
    );
    if (!figures.length) return;
    let why = Live.missing();
    if (!why) await Live.script("pieces/manifest.js").catch(() => {});
    if (!why && !Live.packed) why = Live.BROKEN;
    for (const figure of figures) {
      const note = figure.querySelector(".stage-note");
      if (note && why) note.textContent = why;
      else if (note) Live.offer(figure);
    }
  },

  /** @type {(name: string, index: number, base64: string) => void} what a piece calls; pieces.js takes it */
  piece: () => {},
};

Live.begin();
