"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { test } = require("node:test");
const { load, read, readJson } = require("./engine.js");
const { files } = require("./files.js");

const { made } = load(readJson("scripts"), ["made"]);
const model = made(files(read));

test("draws what is asked for, and leaves the pictures for Python to look at", async () => {
  const drawn = [];
  const before = model.memory.top;
  for (const { start, ...settings } of readJson("settings")) {
    const { picture, heatMaps } = await model.draw(
      {
        ...settings,
        start: start && {
          ...start,
          pixels: Uint8ClampedArray.from(start.pixels),
          mask: start.mask && Uint8Array.from(start.mask),
        },
      },
      async () => {},
    );
    const words = heatMaps?.words.map((/** @type {any} */ word) => ({
      ...word,
      map: [...word.map],
    }));
    drawn.push({ data: [...picture.data], words });
    assert.equal(model.memory.top, before);
  }
  assert.ok(drawn.length > 0);
  const file = path.join(/** @type {string} */ (process.env.VECTORS), "drawn.json");
  fs.writeFileSync(file, JSON.stringify(drawn));
});
