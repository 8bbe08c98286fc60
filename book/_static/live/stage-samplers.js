// The stage "samplers": one noise, and each sampler's own way from it, side by side.
"use strict";

kinds.samplers = (stage) => {
  const { model, settings } = stage;
  const line = new PromptLine("Prompt", settings.prompt, { show: false });
  const seed = new Seed(settings.seed, () => draw());
  const steps = new Slider("Steps", {
    min: 1,
    max: 50,
    value: settings.steps,
    onRest: () => draw(),
  });
  const panes = model.samplers.map((name) => new Pane(SAMPLERS[name] ?? name, model.size));
  const film = new Film(panes);
  let round = 0;

  const draw = async () => {
    const mine = ++round;
    const wanted = { prompt: line.value, seed: seed.value, steps: steps.value };
    film.begin();
    let milliseconds = 0;
    for (const [i, sampler] of model.samplers.entries()) {
      const result = await stage.run(
        { ...wanted, sampler },
        ({ index, of, picture }) => {
          if (!picture) return;
          const words = `after ${index} of ${of} steps`;
          film.add(new Map([[panes[i], picture]]), words);
          // The noise is the same for all: who waits for his turn shows it.
          if (i === 0 && index === 0) for (const pane of panes.slice(1)) pane.show(picture, words);
        },
        panes[i].title,
      );
      if (mine !== round) return; // another round has begun
      if (!result) return film.end();
      milliseconds += result.milliseconds;
      film.add(
        new Map([[panes[i], result.picture]]),
        `after ${result.steps} of ${result.steps} steps`,
        true,
      );
    }
    film.end();
    stage.say(`All of them drawn in ${(milliseconds / 1000).toFixed(1)} s, in this page.`);
  };
  stage.onDraw(draw);
  stage.body.append(
    el("div", { class: "live-bar" }, line.input, stage.button.element),
    el("div", { class: "live-fields" }, steps.element, seed.element),
    el("div", { class: "live-row of-4" }, ...panes.map((pane) => pane.element)),
    film.element,
    stage.status,
  );
  draw();
};
