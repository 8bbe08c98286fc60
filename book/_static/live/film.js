// Pictures that come step by step, and a slider that goes back over all of them afterwards.
"use strict";

const FRAME_MS = 120;

class Film {
  /**
   * @param {Pane[]} panes each shows its own pictures, all at the step of the slider
   * @param {(shown: number) => void} [onShow]
   */
  constructor(panes, onShow = () => {}) {
    this.panes = panes;
    this.onShow = onShow;
    /** @type {Map<Pane, Picture[]>} */
    this.frames = new Map(panes.map((pane) => [pane, []]));
    /** @type {string[]} what the slider says at each step */
    this.words = [];
    this.timer = 0;
    this.calm = window.matchMedia("(prefers-reduced-motion: reduce)");
    this.slider = new Slider("Steps taken", {
      min: 0,
      max: 0,
      value: 0,
      said: (i) => this.words?.[i] ?? "",
      onMove: () => {
        this.pause();
        this.show(this.slider.value);
      },
    });
    this.button = el("button", {
      type: "button",
      class: "live-play",
      onclick: () => (this.timer ? this.pause() : this.play()),
    });
    this.element = el("div", { class: "live-film" }, this.button, this.slider.element);
    this.pause();
    this.hide(true);
  }

  /** @param {boolean} hidden its room stays: nothing jumps when it comes back */
  hide(hidden) {
    this.element.classList.toggle("away", hidden);
    this.element.inert = hidden;
  }

  /** @param {Pane[]} [panes] whose pictures are drawn anew */
  begin(panes = this.panes) {
    this.pause();
    for (const pane of panes) this.frames.set(pane, []);
    if (panes.length === this.panes.length) this.words = [];
    this.hide(true);
  }

  /**
   * A step's pictures. They are shown at once; where motion is not wanted, only the last ones are.
   * @param {Map<Pane, Picture>} pictures
   * @param {string} words
   * @param {boolean} [last]
   */
  add(pictures, words, last = false) {
    for (const [pane, picture] of pictures) {
      const frames = this.frames.get(pane) ?? [];
      this.words[frames.length] = words;
      frames.push(picture);
      if (last || !this.calm.matches) pane.show(picture, words);
    }
  }

  /** All has come: from now on the slider shows it. */
  end() {
    const count = Math.max(...[...this.frames.values()].map((frames) => frames.length));
    this.slider.input.max = String(count - 1);
    this.slider.value = count - 1;
    if (count > 0) this.show(count - 1); // where motion is not wanted, the others come now
    this.hide(count < 2);
  }

  /** The step that is shown, where it is not the last. */
  shownBefore() {
    const { value } = this.slider;
    return value < Number(this.slider.input.max) ? value : null;
  }

  /** @param {number} i */
  show(i) {
    for (const [pane, frames] of this.frames) {
      const its = Math.min(i, frames.length - 1);
      if (its >= 0) pane.show(frames[its], this.words[its]);
    }
    this.onShow(i);
  }

  play() {
    const last = Number(this.slider.input.max);
    if (this.slider.value >= last) this.slider.value = 0;
    this.show(this.slider.value);
    this.button.textContent = "Pause";
    this.timer = setInterval(() => {
      this.slider.value += 1;
      this.show(this.slider.value);
      if (this.slider.value >= last) this.pause();
    }, FRAME_MS);
  }

  pause() {
    clearInterval(this.timer);
    this.timer = 0;
    this.button.textContent = "Play";
  }
}

/**
 * The three pictures of a step, and a film of all steps.
 * @param {Stage} stage
 */
function threePictures(stage) {
  const { size } = stage.model;
  const picture = new Pane("Picture", size, "large");
  const x0 = new Pane("Predicted x₀", size);
  const residual = new Pane("Noise residual", size);
  const film = new Film([picture, x0, residual]);
  /** @param {Step} step */
  const onStep = (step) => {
    const shown = [
      [picture, step.picture],
      [x0, step.x0],
      [residual, step.residual],
    ];
    film.add(
      new Map(/** @type {[Pane, Picture][]} */ (shown.filter(([, data]) => data))),
      `after ${step.index} of ${step.of} steps, timestep ${Math.round(step.timestep)}`,
    );
  };
  /** @param {Result} result */
  const onResult = (result) => {
    film.add(
      new Map([[picture, result.picture]]),
      `after ${result.steps} of ${result.steps} steps`,
      true,
    );
    film.end();
  };
  return { picture, x0, residual, film, onStep, onResult };
}

/**
 * A file's name for a picture: its words, its seed, and the step where it is one on the way.
 * @param {string} prompt
 * @param {number} seed
 * @param {number | null} [step]
 */
function fileName(prompt, seed, step = null) {
  const words = prompt
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 80);
  const on = step === null ? "" : `-step-${step}`;
  return `${words || "no-prompt"}-seed-${seed}${on}.png`;
}
