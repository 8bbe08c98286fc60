// CLIP's tokenizer: a prompt becomes word pieces, joined from single bytes pair by pair (Sennrich et al.
// 2016). It does what tokenizer.json says, in order: special tokens, normalizer, pre-tokenizer, merges.
"use strict";

const START = "<|startoftext|>";
const END = "<|endoftext|>";
const START_ID = 49406;
const END_ID = 49407;
const MOST_TOKENS = 77;
// What ends a word, in the vocabulary.
const WORD_END = "</w>";
// The pre-tokenizer's pattern. `\s` of JavaScript is not quite Unicode's white space, which is meant.
const WORDS =
  /<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu;

/**
 * The 256 bytes as the vocabulary writes them: one that prints in Latin-1 as itself, and the others, in
 * their order, as the letters from U+0100 on. First those that print: so the vocabulary numbers them.
 * @returns {[number, string][]}
 */
function byteSymbols() {
  const all = Array.from({ length: 256 }, (_, byte) => byte);
  const prints = (/** @type {number} */ byte) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
  const others = all.filter((byte) => !prints(byte));
  return [
    ...all
      .filter(prints)
      .map((byte) => /** @type {[number, string]} */ ([byte, String.fromCharCode(byte)])),
    ...others.map(
      (byte, i) => /** @type {[number, string]} */ ([byte, String.fromCharCode(256 + i)]),
    ),
  ];
}

/** @typedef {{text: string, id: number}} Piece an entry of the vocabulary, such as "cat</w>", and its number */

class Tokenizer {
  /** @param {string} merges pairs that are joined, "a b" in a line, the first ones first */
  constructor(merges) {
    const symbols = byteSymbols();
    this.symbolOf = new Map(symbols);
    // The vocabulary: all bytes, all bytes that end a word, what the merges make.
    const single = symbols.map(([, symbol]) => symbol);
    const entries = [...single, ...single.map((symbol) => symbol + WORD_END)];
    /** @type {Map<string, number>} a pair, with a space between, to its place in the order of merging */
    this.rankOf = new Map();
    for (const pair of merges.trim().split("\n")) {
      this.rankOf.set(pair, this.rankOf.size);
      entries.push(pair.replace(" ", ""));
    }
    this.idOf = new Map(entries.map((entry, id) => [entry, id]));
    this.utf8 = new TextEncoder();
  }

  /**
   * The pieces of a text, all of them, without start, end and padding.
   * @param {string} text
   * @returns {Piece[]}
   */
  encode(text) {
    // Special tokens are looked for in what was typed: in other letters, <|EndOfText|>, they are text.
    return text.split(/(<\|startoftext\|>|<\|endoftext\|>)/).flatMap((part) => {
      if (part === START) return { text: START, id: START_ID };
      if (part === END) return { text: END, id: END_ID };
      return words(normalized(part)).flatMap((word) => this.pieces(word));
    });
  }

  /**
   * One word, byte by byte, and then joined: always the pair that was learned first, the leftmost of several.
   * Pairs wait by their rank, so that even a word of 100,000 letters is cut within seconds.
   * @param {string} word
   * @returns {Piece[]}
   */
  pieces(word) {
    // Half of a pair of UTF-16 becomes U+FFFD here.
    const parts = Array.from(this.utf8.encode(word), (byte) => this.symbolOf.get(byte) ?? "");
    parts[parts.length - 1] += WORD_END;
    const left = parts.map((_, i) => i - 1); // the neighbours of each part that is still there
    const right = parts.map((_, i) => i + 1);
    /** @type {Map<number, number[]>} where pairs of a rank begin */
    const waiting = new Map();
    const rank = (/** @type {number} */ i) => this.rankOf.get(`${parts[i]} ${parts[right[i]]}`);
    const wait = (/** @type {number} */ i) => {
      const its = rank(i);
      if (its === undefined) return;
      const places = waiting.get(its);
      if (places) places.push(i);
      else waiting.set(its, [i]);
    };
    for (let i = 0; i < parts.length; i++) wait(i);
    while (waiting.size) {
      let first = Infinity;
      for (const its of waiting.keys()) first = Math.min(first, its);
      const places = /** @type {number[]} */ (waiting.get(first)).sort((a, b) => a - b);
      waiting.delete(first);
      for (const i of places) {
        if (rank(i) !== first) continue; // a part of it was joined with another
        const gone = right[i];
        parts[i] += parts[gone];
        parts[gone] = "";
        right[i] = right[gone];
        left[right[i]] = i;
        // What is joined was learned before any pair that it is part of: these come in a later round.
        wait(left[i]);
        wait(i);
      }
    }
    return parts
      .filter((text) => text)
      .map((text) => ({ text, id: /** @type {number} */ (this.idOf.get(text)) }));
  }
}

/**
 * The normalizer: accents composed, small letters. Letter by letter, since a whole word's toLowerCase()
 * makes another letter of a Σ at its end. It also makes one space of several, but the pre-tokenizer
 * leaves out all of them anyway.
 * @param {string} text
 */
function normalized(text) {
  return Array.from(text.normalize("NFC"), (letter) => letter.toLowerCase()).join("");
}

/**
 * The pre-tokenizer: letters in a row, each digit, signs in a row; spaces are left out.
 * @param {string} text
 * @returns {string[]}
 */
function words(text) {
  // Its second pattern takes a special token that is text apart again.
  return (text.match(WORDS) ?? []).flatMap((word) =>
    word === START || word === END ? ["<|", word.slice(2, -2), "|>"] : word,
  );
}

/**
 * What the text encoder reads: always as many numbers. What does not fit between start and end is cut off.
 * @param {Piece[]} pieces
 * @param {number} length of what is read
 */
function padded(pieces, length = MOST_TOKENS) {
  const ids = new Int32Array(length).fill(END_ID);
  ids[0] = START_ID;
  ids.set(
    pieces.slice(0, length - 2).map((piece) => piece.id),
    1,
  );
  return ids;
}
