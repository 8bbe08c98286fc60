// The stage "draw": a sentence becomes a picture, step by step, with what the network thinks of it on the way.
"use strict";

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
      onclick: () => picture.save(fileName(drawn.prompt, drawn.seed, film.shownBefore())),
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
