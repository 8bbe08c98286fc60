// A picture, and the words of its prompt below it, which light it up.
"use strict";

/** @typedef {{text: string, seen: boolean, map: Float32Array, light: Float32Array}} LitWord */

const HINT = "Point at a word, tap it or tab to it. Or point at a place of the picture.";

/** A picture, and the words of its prompt below it, which light it up. */
class WordLights {
  /** @param {number} size */
  constructor(size) {
    this.size = size;
    this.pane = new Pane("Picture", size);
    this.sheet = el("canvas", {
      class: "live-veil",
      width: size,
      height: size,
      "aria-hidden": "true",
    });
    this.picture = el("div", { class: "live-lit" }, this.pane.canvas, this.sheet);
    this.row = el("div", {
      class: "live-words",
      role: "group",
      "aria-label": "Words of the prompt",
    });
    this.status = el("p", { class: "live-remark live-found", role: "status" }, HINT);
    /** @type {LitWord[]} */
    this.words = [];
    /** @type {Map<LitWord, HTMLButtonElement>} */
    this.buttons = new Map();
    /** @type {LitWord | null} pressed, and lit until it is pressed again */
    this.kept = null;
    /** @type {LitWord | null} under the mouse, or reached with the keyboard */
    this.visited = null;
    this.steps = 1;
    this.waits = true; // what is shown has no maps yet
    this.picture.addEventListener("pointermove", (event) => this.point(event));
    this.picture.addEventListener("click", (event) => this.point(event));
    this.picture.addEventListener("pointerleave", ({ pointerType }) => {
      if (pointerType !== "touch") this.show(); // a finger leaves at once, and what it found stays
    });
  }

  /** Until the next picture has its maps. */
  wait() {
    this.waits = true;
    for (const button of this.buttons.values()) button.disabled = true;
    this.visited = null;
    this.sheet.hidden = true;
    this.status.textContent = "";
  }

  /**
   * @param {LitWord[]} words
   * @param {number} steps that the maps are added up over
   */
  take(words, steps) {
    this.words = words;
    this.steps = steps;
    this.waits = false;
    this.buttons.clear();
    this.row.replaceChildren(
      ...words.map((word) => (word.seen ? this.button(word) : this.unlit(word))),
    );
    // The word that was kept stays so, where the new prompt has it, too.
    const before = this.kept?.text;
    this.kept = words.find(({ text, seen }) => seen && text === before) ?? null;
    this.show();
  }

  /** @param {LitWord} word */
  button(word) {
    const isMouse = (/** @type {PointerEvent} */ { pointerType }) => pointerType === "mouse";
    const button = el(
      "button",
      {
        type: "button",
        class: "live-word",
        "aria-pressed": "false",
        onpointerenter: (/** @type {PointerEvent} */ event) => isMouse(event) && this.visit(word),
        onpointerleave: (/** @type {PointerEvent} */ event) => isMouse(event) && this.visit(null),
        onfocus: () => button.matches(":focus-visible") && this.visit(word),
        onblur: () => this.visit(null),
        onclick: () => {
          this.kept = this.kept === word ? null : word;
          this.show();
        },
      },
      word.text,
    );
    this.buttons.set(word, button);
    return button;
  }

  /** @param {LitWord} word */
  unlit({ text }) {
    return el(
      "span",
      { class: "live-word live-piece unseen" },
      text,
      el("span", { class: "live-hidden" }, ", never seen"),
    );
  }

  /** @param {LitWord | null} word */
  visit(word) {
    this.visited = word;
    this.show();
  }

  show() {
    if (this.waits) return;
    const word = this.visited ?? this.kept;
    for (const [its, button] of this.buttons) {
      button.classList.toggle("shown", its === word);
      button.classList.remove("most");
      button.setAttribute("aria-pressed", String(its === this.kept));
    }
    this.sheet.hidden = !word;
    if (!word) return this.say(this.words.length ? HINT : "The prompt has no words to look up.");
    /** @type {CanvasRenderingContext2D} */ (this.sheet.getContext("2d")).putImageData(
      veil(word.light, this.size),
      0,
      0,
    );
    this.say(`“${word.text}”: ${placeOfLight(word.light, this.size)}.`);
  }

  /** Which word has the most attention at a place. @param {MouseEvent} event */
  point(event) {
    if (this.waits || !this.buttons.size) return;
    const box = this.picture.getBoundingClientRect();
    const at = (/** @type {number} */ v) =>
      Math.min(this.size - 1, Math.max(0, Math.floor(v * this.size)));
    const x = at((event.clientX - box.left) / box.width);
    const y = at((event.clientY - box.top) / box.height);
    const i = y * this.size + x;
    const words = [...this.buttons.keys()].sort((a, b) => b.map[i] - a.map[i]);
    for (const [word, button] of this.buttons) button.classList.toggle("most", word === words[0]);
    const percent = (/** @type {LitWord} */ { map }) =>
      `${((100 * map[i]) / this.steps).toFixed(1)} %`;
    const next = words[1] ? `, before “${words[1].text}” with ${percent(words[1])}` : "";
    this.say(
      `Here “${words[0].text}” has most of the words: ${percent(words[0])} of the attention${next}.`,
    );
  }

  /** @param {string} words */
  say(words) {
    if (this.status.textContent !== words) this.status.textContent = words;
  }
}
