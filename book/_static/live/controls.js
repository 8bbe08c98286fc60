// What a reader sets: sliders, the seed with its dice, the sampler, and the button that draws and stops.
"use strict";

/** @type {Record<string, string>} */
const SAMPLERS = { ddpm: "DDPM", ddim: "DDIM", unipc: "UniPC", "dpm++2m": "DPM++ 2M" };
const LARGEST_SEED = 2 ** 32 - 1;

class Slider {
  /**
   * @param {string} name
   * @param {{min: number, max: number, step?: number, value: number, said?: (value: number) => string,
   *   onMove?: (value: number) => void, onRest?: (value: number) => void}} settings
   *   onRest: when it has not been moved for a moment
   */
  constructor(name, { min, max, step = 1, value, said = String, onMove, onRest }) {
    this.said = said;
    this.timer = 0;
    this.number = el("span", { class: "live-number", "aria-hidden": "true" });
    this.input = el("input", {
      type: "range",
      min,
      max,
      step,
      value,
      "aria-label": name,
      oninput: () => {
        this.show();
        onMove?.(this.value);
        clearTimeout(this.timer);
        if (onRest) this.timer = setTimeout(() => onRest(this.value), 250);
      },
    });
    this.element = el(
      "label",
      { class: "live-field" },
      el("span", { class: "live-name" }, name, " ", this.number),
      this.input,
    );
    this.show();
  }

  get value() {
    return Number(this.input.value);
  }

  set value(value) {
    this.input.value = String(value);
    this.show();
  }

  /** What it is set to is used already: it need not rest first. */
  settle() {
    clearTimeout(this.timer);
  }

  show() {
    this.number.textContent = this.said(this.value);
    this.input.setAttribute("aria-valuetext", this.said(this.value));
  }
}

class Seed {
  /**
   * @param {number} value
   * @param {() => void} onThrow when the dice has given another seed
   */
  constructor(value, onThrow) {
    this.input = el("input", {
      type: "number",
      min: 0,
      max: LARGEST_SEED,
      step: 1,
      value,
      "aria-label": "Seed",
      inputmode: "numeric",
    });
    const dice = el("button", {
      type: "button",
      class: "live-dice",
      "aria-label": "Another seed",
      title: "Another seed",
      onclick: () => {
        this.input.value = String(Math.floor(Math.random() * 10_000));
        onThrow();
      },
    });
    // Drawn: not every system has a letter for a die.
    dice.innerHTML =
      '<svg viewBox="0 0 18 18" width="18" height="18" fill="none" stroke="currentColor" aria-hidden="true">' +
      '<rect x="1" y="1" width="16" height="16" rx="3.5" stroke-width="1.6"/>' +
      '<path stroke-width="3" stroke-linecap="round" d="M5 5h0M13 5h0M9 9h0M5 13h0M13 13h0"/></svg>';
    this.element = el(
      "div",
      { class: "live-field" },
      el("span", { class: "live-name", "aria-hidden": "true" }, "Seed"),
      el("div", { class: "live-seed" }, this.input, dice),
    );
  }

  /** A whole number that torch takes as a seed; what is none becomes the nearest. */
  get value() {
    const seed = Math.min(LARGEST_SEED, Math.max(0, Math.floor(Number(this.input.value)) || 0));
    this.input.value = String(seed);
    return seed;
  }
}

class Choice {
  /**
   * @param {string} name
   * @param {Record<string, string>} options what each is called
   * @param {string} value
   * @param {() => void} [onChange]
   */
  constructor(name, options, value, onChange = () => {}) {
    this.input = el(
      "select",
      { onchange: onChange },
      ...Object.entries(options).map(([option, called]) =>
        el("option", { value: option, selected: option === value }, called),
      ),
    );
    this.element = el(
      "label",
      { class: "live-field" },
      el("span", { class: "live-name" }, name),
      this.input,
    );
  }

  get value() {
    return this.input.value;
  }
}

/**
 * The sampler to choose of those that the engine has.
 * @param {Model} model
 * @param {string} value
 * @param {string} [name]
 * @param {() => void} [onChange]
 */
function samplerChoice({ samplers }, value, name = "Sampler", onChange) {
  const options = samplers.map((sampler) => [sampler, SAMPLERS[sampler] ?? sampler]);
  return new Choice(name, Object.fromEntries(options), value, onChange);
}

/** *Draw*, which is *Stop* while something is drawn. */
class DrawButton {
  /** @param {() => void} onStop */
  constructor(onStop) {
    this.running = false;
    this.element = el(
      "button",
      {
        type: "submit",
        class: "live-draw",
        onclick: (/** @type {MouseEvent} */ event) => {
          if (!this.running) return; // its form is sent
          event.preventDefault();
          // Its words change under the finger: the second click of a double one meant *Draw*, too.
          if (event.detail < 2) onStop();
        },
      },
      "Draw",
    );
  }

  /** @param {boolean} running */
  show(running) {
    this.running = running;
    this.element.textContent = running ? "Stop" : "Draw";
    this.element.classList.toggle("running", running);
  }
}
