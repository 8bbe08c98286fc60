// The line to type a prompt in, with the pieces that the tokenizer makes of it, and which the model has never seen.
"use strict";

const END_OF_WORD = "</w>";
const MOST_SHOWN = 100; // pieces: all that are read, and some of those that are cut off

/** @type {Map<string, number>} CLIP writes every byte as a letter: those that print as themselves, the rest from 256 on */
const byteOf = new Map();
for (let byte = 0, odd = 256; byte < 256; byte++) {
  const prints = (byte > 32 && byte < 127) || (byte > 160 && byte < 173) || byte > 173;
  byteOf.set(String.fromCharCode(prints ? byte : odd++), byte);
}

/**
 * What somebody typed to get this piece: the letters for bytes read back, as far as they are whole signs.
 * @param {string} piece
 */
function readable(piece) {
  const letters = piece.replace(END_OF_WORD, "");
  const text = new TextDecoder().decode(
    Uint8Array.from(letters, (letter) => byteOf.get(letter) ?? 63),
  );
  return text.includes("\ufffd") ? letters : text;
}

/**
 * Words in which the model has never seen a piece.
 * @param {Piece[]} pieces
 */
function unseenWords(pieces) {
  const words = new Set();
  let word = "",
    seen = true;
  for (const { text, known } of pieces) {
    word += text.replace(END_OF_WORD, "");
    seen &&= known;
    if (!text.endsWith(END_OF_WORD)) continue;
    if (!seen) words.add(readable(word));
    word = "";
    seen = true;
  }
  return [...words];
}

/**
 * What there is to say about a prompt, as sentences.
 * @param {Tokens} tokens
 */
function remarks({ pieces, kept }) {
  const said = [];
  const unseen = unseenWords(pieces.slice(0, kept));
  if (unseen.length) {
    const few = unseen
      .slice(0, 4)
      .map((word) => `“${word}”`)
      .join(", ");
    const more = unseen.length > 4 ? ` and ${unseen.length - 4} more` : "";
    said.push(
      unseen.length === 1
        ? `The model has never seen ${few}: to it, the word is an empty place.`
        : `The model has never seen ${few}${more}: to it, these words are empty places.`,
    );
  }
  if (pieces.length > kept) {
    said.push(
      `A prompt has room for ${kept} pieces, and this one has ${pieces.length}: what comes after them is cut off.`,
    );
  }
  return said.join(" ");
}

class PromptLine {
  /**
   * @param {string} name
   * @param {string} value
   * @param {{ids?: boolean, show?: boolean, model?: string, onType?: (text: string) => void}} [look]
   *   ids: the pieces show their numbers; show: there are pieces; model: that reads them
   */
  constructor(name, value, { ids = false, show = true, model, onType = () => {} } = {}) {
    this.ids = ids;
    this.model = model;
    this.shows = show;
    this.onType = onType;
    this.timer = 0;
    this.input = el("input", {
      type: "text",
      class: "live-line",
      value,
      "aria-label": name,
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      enterkeyhint: "go",
      oninput: () => this.changed(true),
    });
    this.pieces = el("ul", {
      class: "live-pieces",
      "aria-label": `Pieces of the ${name.toLowerCase()}`,
    });
    this.remark = el("p", { class: "live-remark", role: "status" });
    this.element = el("div", { class: "live-prompt" }, ...(show ? [this.pieces, this.remark] : []));
    this.changed(false);
  }

  get value() {
    return this.input.value;
  }

  set value(value) {
    this.input.value = value;
    this.changed(false);
  }

  /** @param {boolean} typed by a person, and not written by chips */
  changed(typed) {
    if (typed) this.onType(this.value);
    if (!this.shows) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), typed ? 200 : 0);
  }

  async look() {
    const asked = this.value;
    const tokens = await Live.ready()
      .then((engine) => engine.tokens(asked, this.model))
      .catch(() => null);
    if (!tokens || asked !== this.value) return; // somebody types on
    this.pieces.replaceChildren(
      ...tokens.pieces.slice(0, MOST_SHOWN).map((piece, i) => this.chip(piece, i < tokens.kept)),
    );
    const more = tokens.pieces.length - MOST_SHOWN;
    if (more > 0) this.pieces.append(el("li", {}, `and ${more} more`));
    const said = remarks(tokens);
    if (this.remark.textContent !== said) this.remark.textContent = said;
  }

  /**
   * @param {Piece} piece
   * @param {boolean} kept
   */
  chip({ text, id, known }, kept) {
    const state = kept ? (known ? "" : "unseen") : "cut";
    const words = { unseen: "never seen", cut: "cut off", "": "" }[state];
    const shown = el("span", { class: "live-text" }, this.ids ? text : readable(text));
    return el(
      "li",
      { class: `live-piece ${state}`.trim() },
      shown,
      ...(this.ids ? [el("span", { class: "live-id" }, String(id))] : []),
      ...(words ? [el("span", { class: "live-hidden" }, `, ${words}`)] : []),
    );
  }
}
