"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { load, readJson } = require("./engine.js");

const { sentenceOf, sceneOf } = load(["../captions"], ["sentenceOf", "sceneOf"]);
const model = readJson("model");
const scenes = readJson("scenes");

test("a scene's sentence is Python's caption", () => {
  assert.ok(scenes.length > 15_000);
  for (const { said, ...scene } of scenes) assert.equal(sentenceOf(scene), said);
});

test("a caption is read back into its scene", () => {
  for (const { said, ...scene } of scenes) assert.deepEqual(sceneOf(said, model), scene, said);
});

test("capital letters, blanks and an opening change nothing", () => {
  const { said, ...scene } = scenes[scenes.length - 1];
  for (const opening of readJson("openings")) {
    assert.deepEqual(sceneOf(`  ${opening} ${said.toUpperCase()} `, model), scene);
  }
});

test("what chips cannot say is no scene", () => {
  const others = ["", "cat dog", "a fox", "a cat on a beige background", "a cat, a dog", "cats"];
  for (const text of others) assert.equal(sceneOf(text, model), null, text);
});
