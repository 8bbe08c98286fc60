// The stage "draw": a sentence becomes a picture, step by step, with what the network thinks of it on the way.
"use strict";

/**
 * The three pictures of a step, and a film of all steps.
 * @param {Stage} stage
 */
function threePictures(stage) {
  const { size } = stage.model;
  const picture = new Pane("Picture", size, "large");
  const x0 = new Pane("Predicted x₀", size);
  const residual = new Pane("Noise residual", size);
  const film = new Film([picture, x0, residual]);
  /** @param {Step} step */
  const onStep = (step) => {
    const shown = [
      [picture, step.picture],
      [x0, step.x0],
      [residual, step.residual],
    ];
    film.add(
      new Map(/** @type {[Pane, Picture][]} */ (shown.filter(([, data]) => data))),
      `after ${step.index} of ${step.of} steps, timestep ${Math.round(step.timestep)}`,
    );
  };
  /** @param {Result} result */
  const onResult = (result) => {
    film.add(
      new Map([[picture, result.picture]]),
      `after ${result.steps} of ${result.steps} steps`,
      true,
    );
    film.end();
  };
  return { picture, x0, residual, film, onStep, onResult };
}

/**
 * A file's name for a picture: its words and its seed.
 * @param {string} prompt
 * @param {number} seed
 */
function fileName(prompt, seed) {
  const words = prompt
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 80);
  return `${words || "no-prompt"}-seed-${seed}.png`;
}

kinds.draw = (stage) => {
  const { model, settings } = stage;
  const line = new PromptLine("Prompt", settings.prompt, { onType: (text) => chips.read(text) });
  const chips = new SceneChips(model, (sentence) => {
    line.value = sentence;
  });
  const seed = new Seed(settings.seed, () => draw());
  const steps = new Slider("Steps", { min: 1, max: 50, value: settings.steps });
  const guidance = new Slider("Guidance", { min: 0, max: 12, step: 0.5, value: settings.guidance });
  const sampler = samplerChoice(model, settings.sampler);
  const { picture, x0, residual, film, onStep, onResult } = threePictures(stage);
  const drawn = { prompt: settings.prompt, seed: settings.seed };
  const save = el(
    "button",
    {
      type: "button",
      class: "live-save",
      hidden: true,
      onclick: () => picture.save(fileName(drawn.prompt, drawn.seed)),
    },
    "Save the picture",
  );

  const draw = async () => {
    const wanted = {
      prompt: line.value,
      seed: seed.value,
      steps: steps.value,
      guidance: guidance.value,
      sampler: sampler.value,
    };
    film.begin();
    save.hidden = true;
    const result = await stage.run(wanted, onStep);
    if (!result) {
      if (!stage.current) film.end(); // stopped: the steps so far are there to look at
      return;
    }
    Object.assign(drawn, wanted);
    onResult(result);
    save.hidden = false;
  };
  stage.onDraw(draw);
  stage.body.append(
    el("div", { class: "live-bar" }, line.input, stage.button.element),
    line.element,
    chips.element,
    el(
      "div",
      { class: "live-view" },
      picture.element,
      el(
        "div",
        { class: "live-side" },
        el("div", { class: "live-pair" }, x0.element, residual.element),
        el(
          "div",
          { class: "live-fields" },
          steps.element,
          guidance.element,
          seed.element,
          sampler.element,
        ),
      ),
      film.element,
    ),
    el("div", { class: "live-foot" }, stage.status, save),
  );
  chips.read(settings.prompt);
  draw();
};
