// What the worker is given, as ArrayBuffers: the kernels, and a model as `export` wrote it.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

/** @param {Buffer} bytes */
const own = (bytes) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);

const kernels = () =>
  own(fs.readFileSync(path.join(__dirname, "../../book/_static/live/engine/kernels.wasm")));

/** @param {(name: string) => Buffer} read @param {string} [folder] of the model, in that of the vectors */
const files = (read, folder = "") => ({
  kernels: kernels(),
  model: own(read(`${folder}model.json`)),
  weights: [own(read(`${folder}model.safetensors`))],
  merges: own(read(`${folder}merges.txt`)),
});

module.exports = { files, kernels };
