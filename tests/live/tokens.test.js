"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { load, readJson } = require("./engine.js");

const { Tokenizer, padded } = load(["tokens"], ["Tokenizer", "padded"]);
const { merges, vocab } = JSON.parse(readJson("tokenizer")).model;
const tokenizer = new Tokenizer(
  merges.map((/** @type {string[]} */ pair) => pair.join(" ")).join("\n"),
);
const idsOf = (/** @type {string} */ text) =>
  tokenizer.encode(text).map((/** @type {{id: number}} */ piece) => piece.id);

test("the vocabulary follows from the merges", () => {
  const special = { "<|startoftext|>": 49406, "<|endoftext|>": 49407 };
  assert.deepEqual({ ...Object.fromEntries(tokenizer.idOf), ...special }, vocab);
});

test("every text has transformers' tokens", () => {
  const cases = readJson("cases");
  assert.ok(cases.length > 2000);
  for (const [text, ids] of cases) assert.deepEqual(idsOf(text), ids, JSON.stringify(text));
});

test("a piece's text is its entry in the vocabulary", () => {
  for (const [text] of readJson("cases")) {
    for (const piece of tokenizer.encode(text)) assert.equal(vocab[piece.text], piece.id);
  }
});

test("start, end and padding make 77 of them, as transformers does", () => {
  for (const [text, , whole] of readJson("cases")) {
    const ids = padded(tokenizer.encode(text));
    assert.ok(ids instanceof Int32Array);
    assert.deepEqual([...ids], whole, JSON.stringify(text));
  }
});

test("half of a pair of UTF-16 is read as U+FFFD", () => {
  for (const [text, ids] of readJson("halves")) assert.deepEqual(idsOf(text), ids);
});

test("even a word as long as a book is cut within seconds", () => {
  let random = 1;
  const letter = () => {
    random = (random * 48271) % 2147483647;
    return String.fromCharCode(97 + (random % 26));
  };
  for (const word of ["abcde".repeat(20_000), Array.from({ length: 100_000 }, letter).join("")]) {
    const start = performance.now();
    assert.ok(tokenizer.encode(word).length > 10_000);
    const took = performance.now() - start;
    assert.ok(took < 10_000, `${took} ms`);
  }
});
