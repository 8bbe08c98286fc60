// One idea: the page asks, the worker answers. Every message has an id; see the typedefs of pipeline.js.
"use strict";

/** Begins to listen. @param {any} scope the worker's global scope */
function serve(scope) {
  /** @type {Map<string, StableDiffusion | StableDiffusion3>} by name, the one for all first */
  let models = new Map();
  /** @type {Set<number>} */
  const stopped = new Set();
  /** @type {Promise<void>} one job after another: they share one memory */
  let last = Promise.resolve();

  /** Lets messages in, such as the wish to stop. */
  const breathe = () =>
    new Promise((done) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close();
        done(null);
      };
      port2.postMessage(null);
    });

  /** @param {any} job */
  async function answer(job) {
    if (job.task === "load") {
      models = new Map(Object.entries(job.models).map(([name, files]) => [name, made(files)]));
      const sizes = [...models.values()].map(({ memory }) => memory.memory.buffer.byteLength);
      return { bytes: sizes.reduce((all, size) => all + size, 0) };
    }
    const [first] = models.keys();
    const model = models.get(job.model ?? job.settings?.model ?? first);
    if (!model) throw new Error("The model is not loaded yet: load it first.");
    if (job.task === "tokens") return model.tokens(job.prompt);
    const start = performance.now();
    const result = await model.draw(job.settings, async (step) => {
      if (step) scope.postMessage({ id: job.id, step });
      await breathe();
      if (stopped.has(job.id)) throw new Stopped();
    });
    return { ...result, milliseconds: performance.now() - start };
  }

  /** @param {any} job */
  async function work(job) {
    const { id } = job;
    try {
      if (stopped.has(id)) throw new Stopped();
      scope.postMessage({ id, done: await answer(job) });
    } catch (error) {
      if (error instanceof Stopped) scope.postMessage({ id, stopped: true });
      else scope.postMessage({ id, error: sentence(error) });
    }
    stopped.delete(id);
  }

  scope.onmessage = (/** @type {MessageEvent} */ { data }) => {
    if ("stop" in data) stopped.add(data.stop);
    else if (data.task === "tokens")
      work(data); // needs no memory, so it need not wait
    else last = last.then(() => work(data));
  };
}

/** The pipeline that a model's configuration asks for. @param {Files} files */
function made(files) {
  const { transformer } = JSON.parse(new TextDecoder().decode(files.model));
  return transformer ? new StableDiffusion3(files) : new StableDiffusion(files);
}

/** @param {unknown} error */
function sentence(error) {
  if (error instanceof RangeError || error instanceof WebAssembly.RuntimeError)
    return "The browser has no memory left for the model: close other tabs, then reload the page.";
  return error instanceof Error ? error.message : String(error);
}
