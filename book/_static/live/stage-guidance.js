// The stage "guidance": the same noise without text, with text alone, and guided as far as the slider says.
"use strict";

kinds.guidance = (stage) => {
  const { model, settings } = stage;
  const line = new PromptLine("Prompt", settings.prompt);
  const negative = new PromptLine("Negative prompt", settings.negativePrompt, { show: false });
  negative.input.placeholder = "a red background";
  const seed = new Seed(settings.seed, () => draw());
  const steps = new Slider("Steps", {
    min: 1,
    max: 50,
    value: settings.steps,
    onRest: () => draw(),
  });
  const guidance = new Slider("Guidance scale", {
    min: 1, // below, Diffusers leaves guidance out, while by the formula 0 is the picture without text
    max: 12,
    step: 0.5,
    value: settings.guidance,
    onRest: () => draw(true),
  });
  const without = new Pane("Without text", model.size);
  const alone = new Pane("With text alone", model.size);
  const guided = new Pane("Guided", model.size);
  const film = new Film([without, alone, guided]);
  let round = 0;
  let drawn = ""; // what the three show, but for the guidance scale

  /** @param {boolean} [guidedOnly] the other two are as they were */
  const draw = async (guidedOnly = false) => {
    const mine = ++round;
    const common = {
      seed: seed.value,
      steps: steps.value,
      prompt: line.value,
      negativePrompt: negative.value,
    };
    const now = JSON.stringify(common);
    const guidedSettings = { ...common, guidance: guidance.value };
    /** @type {[Pane, Wanted][]} */
    const all = [
      [without, { ...common, prompt: "", negativePrompt: "", guidance: 1 }],
      [alone, { ...common, negativePrompt: "", guidance: 1 }],
      [guided, guidedSettings],
    ];
    const todo = guidedOnly && now === drawn ? all.slice(2) : all;
    drawn = todo === all ? "" : now; // until all three are there
    guided.rename(`Guided, scale ${guidedSettings.guidance}`);
    film.begin(todo.map(([pane]) => pane));
    for (const [pane, wanted] of todo) {
      const result = await stage.run(
        wanted,
        ({ index, of, picture }) => {
          if (picture) film.add(new Map([[pane, picture]]), `after ${index} of ${of} steps`);
        },
        pane.title,
      );
      if (mine !== round) return; // another round has begun
      if (!result) return film.end();
      film.add(
        new Map([[pane, result.picture]]),
        `after ${result.steps} of ${result.steps} steps`,
        true,
      );
    }
    drawn = now;
    film.end();
  };
  stage.onDraw(draw);
  stage.body.append(
    el("div", { class: "live-bar" }, line.input, stage.button.element),
    line.element,
    guidance.element,
    el("div", { class: "live-row of-3" }, without.element, alone.element, guided.element),
    film.element,
    el(
      "div",
      { class: "live-fields of-3" },
      el(
        "label",
        { class: "live-field" },
        el("span", { class: "live-name" }, "Negative prompt"),
        negative.input,
      ),
      steps.element,
      seed.element,
    ),
    stage.status,
  );
  draw();
};
