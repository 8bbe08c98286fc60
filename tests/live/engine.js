// What the tests of the engine share: its files in one global scope, as in the worker, and what Python wrote.
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

const ENGINE = path.join(__dirname, "../../book/_static/live/engine");

/**
 * Runs files of the engine in the order given, and gives what they define.
 * @param {string[]} files such as "noise", without .js
 * @param {string[]} names such as "Generator"
 * @returns {Record<string, any>}
 */
function load(files, names) {
  for (const file of files) {
    const filename = path.join(ENGINE, `${file}.js`);
    vm.runInThisContext(fs.readFileSync(filename, "utf8"), { filename });
  }
  return vm.runInThisContext(`({ ${names.join(", ")} })`);
}

/** @param {string} name of a file in the folder of vectors */
function read(name) {
  const folder = process.env.VECTORS;
  assert.ok(folder, "VECTORS names no folder: run this through pytest tests/live");
  return fs.readFileSync(path.join(folder, name));
}

/** @param {string} name of what `node.write_json` wrote */
const readJson = (name) => JSON.parse(read(`${name}.json`).toString("utf8"));

/** @param {string} name of what `node.write_array` wrote, flat */
function readArray(name) {
  const bytes = read(`${name}.f32`);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

/**
 * Asserts that numbers are as Python's, with the largest difference in the message.
 * @param {ArrayLike<number>} actual
 * @param {ArrayLike<number>} expected
 * @param {number} tolerance
 * @param {string} what
 */
function assertClose(actual, expected, tolerance, what) {
  assert.equal(actual.length, expected.length, `${what}: another length`);
  let worst = 0;
  let where = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i] - expected[i]);
    // What is no number is as far off as can be.
    if (!(difference <= worst)) {
      worst = Number.isNaN(difference) ? Infinity : difference;
      where = i;
    }
  }
  const message = `${what}: ${actual[where]} in place of ${expected[where]} at ${where}, off by ${worst}`;
  assert.ok(worst <= tolerance, message);
}

module.exports = { load, read, readJson, readArray, assertClose };
