// One idea: which word made which pixels (Tang et al. 2023, "DAAM"), from the attention that the kernels added up.
"use strict";

/** The matrix (after, before) that interpolates a line of pixels as torch's bicubic does.
 * Keys 1981, with a = -0.75; beyond an end, the last pixel goes on.
 * @param {number} before @param {number} after */
function bicubic(before, after) {
  const a = -0.75;
  const near = (/** @type {number} */ x) => ((a + 2) * x - (a + 3)) * x * x + 1; // |x| <= 1
  const far = (/** @type {number} */ x) => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; // 1 < |x| < 2
  return Array.from({ length: after }, (_, i) => {
    const row = new Float64Array(before);
    const place = ((i + 0.5) * before) / after - 0.5;
    const first = Math.floor(place);
    const t = place - first;
    [far(1 + t), near(t), near(1 - t), far(2 - t)].forEach((weight, k) => {
      row[Math.min(before - 1, Math.max(0, first - 1 + k))] += weight;
    });
    return row;
  });
}

/** A square map in another size. @param {Float32Array} map @param {number} before @param {number} after */
function resized(map, before, after) {
  const matrix = bicubic(before, after);
  const wide = new Float64Array(before * after);
  for (let row = 0; row < before; row++)
    for (let x = 0; x < after; x++)
      for (let k = 0; k < before; k++) wide[row * after + x] += matrix[x][k] * map[row * before + k];
  const out = new Float32Array(after * after);
  for (let y = 0; y < after; y++)
    for (let x = 0; x < after; x++)
      for (let k = 0; k < before; k++) out[y * after + x] += matrix[y][k] * wide[k * after + x];
  return out;
}

/** One map for each of the first tokens: D_k = 1/N Σ_{l,h} max(0, bicubic(Σ_t A_{l,h}^{(t)}[·, k])), as
 * companion.attention has it.
 * @param {Memory} memory @param {Context} context that was watched @param {number} tokens
 * @param {number} size of the maps */
function tokenMaps(memory, context, tokens, size) {
  const maps = Array.from({ length: tokens }, () => new Float32Array(size * size));
  let count = 0;
  for (const { at, heads, tokens: all, side } of context.maps.values()) {
    const places = side * side;
    for (let head = 0; head < heads; head++, count++)
      for (let token = 0; token < tokens; token++) {
        const start = at / 4 + (head * all + token) * places;
        let map = memory.floats.slice(start, start + places);
        if (side !== size) map = resized(map, side, size).map((value) => Math.max(0, value));
        for (let i = 0; i < map.length; i++) maps[token][i] += map[i];
      }
  }
  return maps.map((map) => map.map((value) => value / count));
}

/** A word's map is the mean of its pieces' maps. Words of signs alone have none.
 * @param {Float32Array[]} maps of the start and the pieces behind it
 * @param {Piece[]} pieces @param {number} size of the maps @param {number} shown size of the picture
 * @returns {{text: string, first: number, last: number, map: Float32Array}[]} words with the numbers of their pieces */
function wordMaps(maps, pieces, size, shown) {
  const words = [];
  for (let first = 0, last = 0; last < pieces.length; last++) {
    if (!pieces[last].text.endsWith(WORD_END)) continue;
    const text = spelled(pieces.slice(first, last + 1));
    if (/[\p{L}\p{N}\p{S}]/u.test(text)) {
      const own = maps.slice(first + 1, last + 2); // the start's stands before
      const mean = own[0].map((_, i) => own.reduce((sum, map) => sum + map[i], 0) / own.length);
      words.push({ text, first, last, map: resized(mean, size, shown) });
    }
    first = last + 1;
  }
  return words;
}

/** The text that pieces spell. @param {Piece[]} pieces */
function spelled(pieces) {
  const byteOf = new Map(byteSymbols().map(([byte, symbol]) => [symbol, byte]));
  const symbols = pieces.map((piece) => piece.text.replace(WORD_END, "")).join("");
  const bytes = Array.from(symbols, (symbol) => byteOf.get(symbol) ?? 0x3f);
  return new TextDecoder().decode(new Uint8Array(bytes));
}
