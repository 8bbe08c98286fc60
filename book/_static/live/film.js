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
    this.hide(count < 2);
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
