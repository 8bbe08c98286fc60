// The straight path from noise to the picture, with a mark where each step begins.
"use strict";

class Path {
  constructor() {
    this.marks = el("div", { class: "live-marks", role: "img" });
    this.element = el(
      "div",
      { class: "live-path" },
      el("span", { class: "live-name", "aria-hidden": "true" }, "noise, t = 1"),
      this.marks,
      el("span", { class: "live-name", "aria-hidden": "true" }, "t = 0, picture"),
    );
    this.begin();
  }

  begin() {
    /** @type {number[]} */
    this.times = [];
    this.marks.replaceChildren();
    this.tell("nothing yet");
  }

  /** @param {number} t from 1, noise, to 0, the picture */
  add(t) {
    this.times?.push(t);
    this.marks.append(el("span", { class: "live-mark", style: `left: ${100 * (1 - t)}%` }));
    this.tell(`t = ${this.times?.map((time) => time.toFixed(2)).join(", ")}`);
  }

  /** @param {string} words */
  tell(words) {
    this.marks.setAttribute("aria-label", `Where the flow's steps begin: ${words}`);
  }
}
