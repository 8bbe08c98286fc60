// The stage "words": what is drawn, and which word was looked up where, added up from the same run.
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
    this.picture.addEventListener("pointermove", (event) => this.point(event));
    this.picture.addEventListener("pointerdown", (event) => this.point(event));
    this.picture.addEventListener("pointerleave", ({ pointerType }) => {
      if (pointerType !== "touch") this.show(); // a finger leaves at once, and what it found stays
    });
  }

  /** Until the next picture has its maps. */
  wait() {
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

  /** Which word has the most attention at a place. @param {PointerEvent} event */
  point(event) {
    if (!this.buttons.size) return;
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

/**
 * The words that have a map, and whether the model has ever seen them.
 * @param {HeatMaps} maps
 * @param {Tokens} tokens
 * @returns {LitWord[]}
 */
function litWords({ words }, { pieces }) {
  return words.map(({ text, first, last, map }) => ({
    text,
    map,
    light: stretched(map),
    seen: pieces.slice(first, last + 1).every(({ known }) => known),
  }));
}

/**
 * Which words have no light, and why.
 * @param {LitWord[]} words
 * @param {Tokens} tokens
 */
function sentencesOn(words, { pieces, kept }) {
  const said = [];
  const names = [...new Set(words.filter(({ seen }) => !seen).map(({ text }) => `“${text}”`))];
  const it = names.length > 1 ? "them" : "it";
  if (names.length) said.push(`Not lit: ${names.join(", ")}. The model has never seen ${it}.`);
  if (pieces.length > kept)
    said.push(`A prompt has room for ${kept} pieces. What comes after them was cut off.`);
  return said.join(" ");
}

kinds.words = (stage) => {
  const { model, settings } = stage;
  const line = new PromptLine("Prompt", settings.prompt, { onType: (text) => chips.read(text) });
  const chips = new SceneChips(model, (sentence) => {
    line.value = sentence;
  });
  const seed = new Seed(settings.seed, () => draw());
  const steps = new Slider("Steps", { min: 1, max: 50, value: settings.steps });
  const guidance = new Slider("Guidance", { min: 0, max: 12, step: 0.5, value: settings.guidance });
  const sampler = samplerChoice(model, settings.sampler);
  const lights = new WordLights(model.size);
  const notLit = el("p", { class: "live-remark" });

  const draw = async () => {
    lights.wait();
    notLit.textContent = "";
    const wanted = {
      prompt: line.value,
      seed: seed.value,
      steps: steps.value,
      guidance: guidance.value,
      sampler: sampler.value,
      heatMaps: true,
    };
    const result = await stage.run(wanted, ({ index, of, picture }) => {
      if (picture) lights.pane.show(picture, `after ${index} of ${of} steps`);
    });
    if (!result?.heatMaps) return;
    const tokens = await (await Live.ready()).tokens(wanted.prompt);
    if (stage.current) return; // the next one is drawn already
    lights.pane.show(result.picture, `of “${wanted.prompt}”`);
    lights.take(litWords(result.heatMaps, tokens), result.steps);
    notLit.textContent = sentencesOn(lights.words, tokens);
  };
  stage.onDraw(draw);
  stage.body.append(
    el("div", { class: "live-bar" }, line.input, stage.button.element),
    chips.element,
    el(
      "div",
      { class: "live-view" },
      el("div", { class: "live-column" }, lights.picture, lights.row),
      el(
        "div",
        { class: "live-side" },
        el(
          "div",
          { class: "live-column" },
          lights.status,
          el(
            "div",
            { class: "live-legend" },
            el("span", {}, "least"),
            el("span", { class: "live-scale" }),
            el("span", {}, "most"),
          ),
          el(
            "p",
            { class: "live-remark" },
            "Bright is where a word is looked up most. Each map is stretched over its own range: it compares the ",
            "places of one word, and not the words.",
          ),
          notLit,
        ),
        el(
          "div",
          { class: "live-fields" },
          steps.element,
          guidance.element,
          seed.element,
          sampler.element,
        ),
      ),
    ),
    stage.status,
  );
  chips.read(settings.prompt);
  draw();
};
