// The packed files: each comes in pieces, scripts that hand over base64 of gzip, and is unpacked by the browser itself.
"use strict";

const AT_ONCE = 4; // pieces on their way at a time

/** @type {Map<string, Uint8Array>} the pieces that came, by "name-index" */
const arrived = new Map();

/** @type {(characters: number) => void} */
let onArrived = () => {};

Live.piece = (name, index, base64) => {
  let text;
  try {
    text = atob(base64);
  } catch {
    return; // with signs that are none of base64 it has not arrived
  }
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  arrived.set(`${name}-${index}`, bytes);
  onArrived(base64.length);
};

/**
 * Puts the pieces of a file together and unpacks them.
 * @param {string} name
 * @param {Packed} packed
 * @returns {Promise<ArrayBuffer>}
 */
async function unpacked(name, { pieces, bytes }) {
  const parts = Array.from(
    { length: pieces },
    (_, i) => /** @type {BlobPart} */ (arrived.get(`${name}-${i}`)),
  );
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("gzip"));
  const file = await new Response(stream).arrayBuffer();
  if (file.byteLength !== bytes)
    throw new Error(`${name} has ${file.byteLength} bytes, not ${bytes}`);
  return file;
}

/**
 * Loads and unpacks files.
 * @param {Record<string, Packed>} files of the manifest
 * @param {(part: number) => void} onProgress how much is here, from 0 to 1
 * @returns {Promise<Record<string, ArrayBuffer>>}
 */
async function loadFiles(files, onProgress) {
  const all = Object.values(files).reduce((sum, file) => sum + file.base64, 0);
  let here = 0;
  onArrived = (characters) => {
    here += characters;
    onProgress(here / all);
  };
  const wanted = Object.entries(files).flatMap(([name, { pieces }]) =>
    Array.from({ length: pieces }, (_, i) => `${name}-${i}`),
  );
  try {
    const next = wanted.values();
    const line = async () => {
      for (const piece of next) {
        await Live.script(`pieces/${piece}.js`);
        // A script that was cut short is loaded all the same, and hands over nothing.
        if (!arrived.has(piece)) throw new Error(`${piece} is cut short`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, line));
    const entries = Object.entries(files).map(async ([name, packed]) => [
      name,
      await unpacked(name, packed),
    ]);
    return Object.fromEntries(await Promise.all(entries));
  } catch {
    throw new Error(Live.BROKEN);
  } finally {
    for (const piece of wanted) Live.scripts.delete(`pieces/${piece}.js`);
    arrived.clear(); // all is unpacked, or begins anew
  }
}
