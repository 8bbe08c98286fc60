// A stage: the place of a page where something is drawn. It stands where the stored figure stood.
//
// A new kind of stage, say "paint":
// - its name in KINDS of companion.figures; a cell shows figures.stage("paint", picture, alt=..., prompt=...);
// - a file stage-paint.js here, loaded where a page has such a figure. It says
//       kinds.paint = (stage) => { ...; stage.body.append(...); };
//   and what it may use: `stage` below, and the parts of parts.js, controls.js, captions.js, prompt.js, wish.js, film.js
//   (`threePictures` shows all that a run gives, and its slider);
// - what it draws, it draws with `await stage.run(settings, onStep)`: null means that it was stopped, or failed, and
//   the reader has been told. stage-draw.js shows all of it.
"use strict";

/** @type {Record<string, (stage: Stage) => void>} */
const kinds = {};

/** @typedef {Partial<Settings>} Wanted settings; what is left out are the stage's own */

class Stage {
  /** @param {HTMLElement} figure */
  constructor(figure) {
    const { model } = /** @type {Manifest} */ (Live.packed);
    const { prompt, negativePrompt, seed, steps, guidance, sampler, strength, shift } =
      figure.dataset;
    this.figure = figure;
    this.model = model;
    /** @type {Settings} those of the figure, or else the model's */
    this.settings = {
      prompt: prompt ?? "",
      negativePrompt: negativePrompt ?? "",
      seed: Number(seed ?? 0),
      steps: Number(steps ?? model.defaults.steps),
      guidance: Number(guidance ?? model.defaults.guidance),
      sampler: sampler ?? model.defaults.sampler,
      start: null,
      watch: true,
      heatMaps: false,
    };
    this.strength = Number(strength ?? 0.6);
    this.shift = Number(shift ?? model.defaults.shift);
    /** @type {{stop: () => void} | null} what is drawn now */
    this.current = null;
    /** A form, so that the Enter key draws. */
    this.body = el("form", { class: "live-stage", novalidate: true });
    this.status = el("p", { class: "live-status", role: "status" });
    this.button = new DrawButton(() => this.stop());
  }

  /** @param {() => void} draw what *Draw* and the Enter key do */
  onDraw(draw) {
    this.body.addEventListener("submit", (event) => {
      event.preventDefault();
      draw();
    });
    // By itself, Enter in a field presses the button, which may say *Stop*.
    this.body.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.target instanceof HTMLInputElement)) return;
      if (event.isComposing) return; // it ends a word of Chinese, say
      event.preventDefault();
      if (!event.repeat) draw();
    });
  }

  /** @param {string} words */
  say(words) {
    this.status.textContent = words;
  }

  stop() {
    this.current?.stop();
    this.current = null;
    this.button.show(false);
    this.say("Stopped.");
  }

  /**
   * Draws. What this stage draws at the time is stopped first.
   * @param {Wanted} wanted
   * @param {(step: Step) => void} onStep
   * @param {string} [name] what is drawn, for the sentence that says how far it is
   * @returns {Promise<Result | null>}
   */
  async run(wanted, onStep, name = "") {
    this.current?.stop();
    /** @type {{stop: () => void}} */
    const run = { stop: () => {} };
    this.current = run;
    this.button.show(true);
    const settings = { ...this.settings, ...wanted };
    const what = name ? `${name}: step` : "Step";
    this.say(`${what} 1 of ${settings.steps}.`);
    try {
      const engine = await Live.ready();
      if (this.current !== run) return null;
      const drawing = engine.draw(settings, (step) => {
        if (this.current !== run) return;
        // Said at the quarters of the way: all the steps would be too much to listen to.
        const quarter = Math.max(4, Math.ceil(step.of / 4));
        if (step.index > 0 && step.index % quarter === 0)
          this.say(`${what} ${step.index} of ${step.of}.`);
        onStep(step);
      });
      run.stop = drawing.stop;
      const result = await drawing.result;
      if (this.current !== run) return null;
      this.end(
        result
          ? `Drawn in ${(result.milliseconds / 1000).toFixed(1)} s, in this page.`
          : "Stopped.",
      );
      return result;
    } catch (error) {
      if (this.current === run) this.end(error instanceof Error ? error.message : Live.BROKEN);
      return null;
    }
  }

  /** @param {string} words */
  end(words) {
    this.current = null;
    this.button.show(false);
    this.say(words);
  }
}

/**
 * Puts a stage in the place of a figure's stored picture.
 * @param {HTMLElement} figure
 */
function openStage(figure) {
  const stage = new Stage(figure);
  figure.prepend(stage.body);
  kinds[figure.dataset.stage ?? ""](stage);
  const picture = figure.querySelector("img");
  if (picture) picture.hidden = true;
  figure.classList.add("live");
  const first = stage.button.element.isConnected
    ? stage.button.element
    : stage.body.querySelector("input");
  first?.focus({ preventScroll: true });
  // It is taller than the figure was: what is drawn should be seen.
  const below = stage.body.getBoundingClientRect().bottom > window.innerHeight;
  if (below) stage.body.scrollIntoView({ block: "start" });
}
