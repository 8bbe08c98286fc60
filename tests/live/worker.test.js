"use strict";
const assert = require("node:assert/strict");
const { test } = require("node:test");
const { load, read, readJson } = require("./engine.js");
const { files, kernels } = require("./files.js");

const { serve } = load(readJson("scripts"), ["serve"]);
const SETTINGS = {
  prompt: "a cat",
  negativePrompt: "",
  seed: 0,
  steps: 6,
  guidance: 4,
  sampler: "unipc",
  start: null,
  watch: true,
  heatMaps: false,
};

const MODELS = () => ({
  "stable-diffusion": files(read),
  flow: files(read, "flow/"),
});

/** A worker, and what it said so far. */
function started() {
  /** @type {any[]} */
  const said = [];
  /** @type {{(): void}[]} */
  const waiting = [];
  const scope = {
    onmessage: (/** @type {any} */ _event) => {},
    postMessage(/** @type {any} */ message) {
      said.push(message);
      for (const look of waiting.splice(0)) look();
    },
  };
  serve(scope);
  return {
    said,
    ask: (/** @type {any} */ data) => scope.onmessage({ data }),
    /** The first message that fits. @param {(message: any) => boolean} fits @returns {Promise<any>} */
    async heard(fits) {
      for (;;) {
        const found = said.find(fits);
        if (found) return found;
        await new Promise((look) => waiting.push(() => look(null)));
      }
    },
  };
}

async function loaded() {
  const worker = started();
  worker.ask({ id: 0, task: "load", models: MODELS() });
  const { done } = await worker.heard((message) => message.id === 0);
  assert.ok(done.bytes > 2 ** 20);
  return worker;
}

test("a drawing tells each of its steps, then the result", { timeout: 60_000 }, async () => {
  const worker = await loaded();
  worker.ask({ id: 1, task: "draw", settings: SETTINGS });
  const { done } = await worker.heard((message) => message.done && message.id === 1);
  const steps = worker.said.filter((message) => message.step).map((message) => message.step);
  assert.deepEqual(
    steps.map((step) => step.index),
    [0, 1, 2, 3, 4, 5],
  );
  assert.ok(steps.every((step) => step.of === 6 && step.picture.data.length === 64 * 64 * 4));
  assert.equal(steps[0].residual.width, 16);
  assert.equal(done.picture.data.length, 64 * 64 * 4);
  assert.ok(done.milliseconds > 0);
});

test("it stops when told to, and goes on with the next", { timeout: 60_000 }, async () => {
  const worker = await loaded();
  worker.ask({ id: 1, task: "draw", settings: { ...SETTINGS, steps: 900 } });
  worker.ask({ id: 2, task: "draw", settings: { ...SETTINGS, watch: false } });
  await worker.heard((message) => message.step?.index === 1);
  worker.ask({ stop: 1 });
  await worker.heard((message) => message.stopped && message.id === 1);
  await worker.heard((message) => message.done && message.id === 2);
  assert.ok(worker.said.filter((message) => message.step).length < 20);
});

test("what waits can be stopped before it begins", { timeout: 60_000 }, async () => {
  const worker = await loaded();
  worker.ask({ id: 1, task: "draw", settings: { ...SETTINGS, watch: false } });
  worker.ask({ id: 2, task: "draw", settings: SETTINGS });
  worker.ask({ stop: 2 });
  await worker.heard((message) => message.stopped && message.id === 2);
  assert.ok(!worker.said.some((message) => message.step));
});

test("tokens are told at once, while it draws, with those that training never met", {
  timeout: 60_000,
}, async () => {
  const worker = await loaded();
  worker.ask({ id: 1, task: "draw", settings: SETTINGS });
  worker.ask({ id: 2, task: "tokens", prompt: "a cat in Tokyo" });
  const { done } = await worker.heard((message) => message.id === 2);
  assert.ok(!worker.said.some((message) => message.id === 1 && message.done));
  assert.deepEqual(
    done.pieces.map((/** @type {any} */ piece) => [piece.text, piece.known]),
    [
      ["a</w>", true],
      ["cat</w>", true],
      ["in</w>", false],
      ["tokyo</w>", false],
    ],
  );
  worker.ask({ id: 3, task: "tokens", prompt: "cat ".repeat(200) });
  const long = await worker.heard((message) => message.id === 3);
  assert.equal(long.done.kept, 75);
});

test("both models draw in turns, each with its own number of tokens", {
  timeout: 60_000,
}, async () => {
  const worker = await loaded();
  const pictures = [];
  for (const [id, model] of ["flow", "stable-diffusion", "flow"].entries()) {
    worker.ask({ id: 1 + id, task: "draw", settings: { ...SETTINGS, model } });
    const { done } = await worker.heard((message) => message.done && message.id === 1 + id);
    pictures.push(done.picture.data);
  }
  const steps = worker.said.filter((message) => message.id === 1 && message.step);
  assert.deepEqual(
    steps.map(({ step }) => [step.index, step.of]),
    [0, 1, 2, 3, 4, 5].map((index) => [index, 6]),
  );
  assert.deepEqual(pictures[0], pictures[2]);
  assert.notDeepEqual(pictures[0], pictures[1]);
  for (const [id, model, kept] of [
    [8, "stable-diffusion", 75],
    [9, "flow", 22],
  ]) {
    worker.ask({ id, task: "tokens", model, prompt: "cat ".repeat(200) });
    assert.equal((await worker.heard((message) => message.id === id)).done.kept, kept);
  }
});

test("what cannot be done is told in a sentence, and the worker goes on", {
  timeout: 60_000,
}, async () => {
  const worker = started();
  worker.ask({ id: 1, task: "draw", settings: SETTINGS });
  assert.match((await worker.heard((message) => message.id === 1)).error, /not loaded yet/);
  const wrong = { ...files(read), kernels: kernels().slice(0, 5000) };
  worker.ask({ id: 2, task: "load", models: { "stable-diffusion": wrong } });
  assert.ok((await worker.heard((message) => message.id === 2)).error);
  worker.ask({ id: 3, task: "load", models: MODELS() });
  await worker.heard((message) => message.id === 3 && message.done);
  const start = { pixels: new Uint8ClampedArray(4), strength: 0.5, mask: null };
  const cases = [
    [{ steps: 0 }, /steps/],
    [{ steps: 2.5 }, /steps/],
    [{ steps: 5000 }, /steps/],
    [{ guidance: NaN }, /guidance scale/],
    [{ guidance: -1 }, /guidance scale/],
    [{ seed: -1 }, /seed/],
    [{ sampler: "toString" }, /sampler/],
    [{ prompt: null }, /prompt/],
    [{ model: "toString" }, /not loaded/],
    [{ model: "flow", steps: 1001 }, /steps/],
    [{ model: "flow", shift: 0 }, /shift/],
    [{ model: "flow", shift: NaN }, /shift/],
    [
      {
        model: "flow",
        start: { ...start, pixels: new Uint8ClampedArray(64 * 64 * 4) },
      },
      /from noise alone/,
    ],
    [{ start }, /another size/],
    [
      { start: { ...start, pixels: new Uint8ClampedArray(64 * 64 * 4), strength: 0.1 } },
      /[Ss]trength/,
    ],
  ];
  for (const [i, [change, words]] of cases.entries()) {
    worker.ask({
      id: 10 + i,
      task: "draw",
      settings: { ...SETTINGS, .../** @type {any} */ (change) },
    });
    const { error } = await worker.heard((message) => message.id === 10 + i);
    assert.match(error ?? "no error", /** @type {RegExp} */ (words));
    assert.match(error, /^[^\n]+\.$/);
  }
  worker.ask({ id: 99, task: "draw", settings: { ...SETTINGS, watch: false } });
  await worker.heard((message) => message.id === 99 && message.done);
});
