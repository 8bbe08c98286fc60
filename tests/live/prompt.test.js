"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { load, readJson } = require("./engine.js");

const names = ["readable", "unseenWords", "remarks"];
const { readable, unseenWords, remarks } = load(["../prompt"], names);

/** Pieces of these texts: a star before one says that the model has never seen it. */
const pieces = (/** @type {string[]} */ ...texts) =>
  texts.map((text) => ({ text: text.replace("*", ""), id: 0, known: !text.startsWith("*") }));

test("a word's pieces are read back as what was typed", () => {
  for (const [word, parts] of readJson("words")) assert.equal(readable(parts.join("")), word);
});

test("a piece that is half a sign is shown by its letters", () => {
  assert.equal(readable("ðŁ"), "ðŁ");
});

test("of what the model has never seen, whole words are named, each once", () => {
  const given = pieces("a</w>", "gen", "*shin</w>", "*fox</w>", "*fox</w>", "cat</w>");
  assert.deepEqual(unseenWords(given), ["genshin", "fox"]);
});

test("a prompt of known words that fits needs no remark", () => {
  assert.equal(remarks({ pieces: pieces("a</w>", "cat</w>"), kept: 2 }), "");
});

test("unknown words are named, and no more than four of them", () => {
  const one = remarks({ pieces: pieces("a</w>", "*fox</w>"), kept: 2 });
  assert.match(one, /never seen “fox”: .* the word is an empty place/);
  const many = pieces(...["*v</w>", "*w</w>", "*x</w>", "*y</w>", "*z</w>", "*q</w>"]);
  assert.match(remarks({ pieces: many, kept: 6 }), /“v”, “w”, “x”, “y” and 2 more: .* these words/);
});

test("what is cut off is said, and its words are not called unknown", () => {
  const said = remarks({ pieces: pieces("cat</w>", "cat</w>", "*fox</w>"), kept: 2 });
  assert.match(said, /room for 2 pieces, and this one has 3/);
  assert.doesNotMatch(said, /fox/);
});
