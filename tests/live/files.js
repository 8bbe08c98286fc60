// What the worker is given, as ArrayBuffers: the kernels, and a model as `export` wrote it.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

/** @param {Buffer} bytes */
const own = (bytes) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);

const kernels = () =>
  own(fs.readFileSync(path.join(__dirname, "../../book/_static/live/engine/kernels.wasm")));

/** @param {(name: string) => Buffer} read */
const files = (read) => ({
  model: own(read("model.json")),
  weights: own(read("model.safetensors")),
  merges: own(read("merges.txt")),
});

module.exports = { files, kernels };
