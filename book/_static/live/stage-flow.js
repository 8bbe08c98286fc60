// The stage "flow": from one noise, with as many steps, the UNet along its curved path and the flow along its straight one.
"use strict";

kinds.flow = (stage) => {
  const { model, settings } = stage;
  const line = new PromptLine("Prompt", settings.prompt, { model: "flow" });
  const seed = new Seed(settings.seed, () => draw());
  const steps = new Slider("Steps", {
    min: 1,
    max: 20,
    value: settings.steps,
    onRest: () => draw(),
  });
  const shift = new Slider("Shift", {
    min: 0.5,
    max: 8,
    step: 0.5,
    value: stage.shift,
    onRest: () => draw(),
  });
  const sampler = samplerChoice(model, settings.sampler, "Sampler of the UNet", () => draw());
  const unet = new Pane("UNet", model.size);
  const flow = new Pane("Flow", model.size);
  const x0 = new Pane("Flow’s predicted x₀", model.size);
  const velocity = new Pane("Flow’s velocity", model.size);
  const film = new Film([unet, flow, x0, velocity]);
  const path = new Path();
  let round = 0;
  /** @type {Map<Pane, string>} what the two show: what has not changed is not drawn again */
  const drawn = new Map();

  /** @param {boolean} [all] also what has not changed */
  const draw = async (all = false) => {
    const mine = ++round;
    for (const slider of [steps, shift]) slider.settle();
    const common = { prompt: line.value, seed: seed.value, steps: steps.value };
    /** @type {[Pane, Wanted, Pane[]][]} */
    const both = [
      [unet, { ...common, sampler: sampler.value }, []],
      [flow, { ...common, model: "flow", shift: shift.value }, [x0, velocity]],
    ];
    const todo = both.filter(([pane, wanted]) => all || drawn.get(pane) !== JSON.stringify(wanted));
    film.begin(todo.flatMap(([pane, , beside]) => [pane, ...beside]));
    let milliseconds = 0;
    for (const [pane, wanted, beside] of todo) {
      drawn.delete(pane);
      if (pane === flow) path.begin();
      const result = await stage.run(
        wanted,
        (step) => {
          const { index, of, timestep, picture } = step;
          if (!picture) return;
          const shown = beside.length ? [step.x0, step.residual] : [];
          const frames = [[pane, picture], ...beside.map((one, i) => [one, shown[i]])];
          film.add(
            new Map(/** @type {[Pane, Picture][]} */ (frames)),
            `after ${index} of ${of} steps`,
          );
          if (pane === flow) path.add(timestep / 1000);
        },
        pane.title,
      );
      if (mine !== round) return; // another round has begun
      if (!result) return film.end();
      milliseconds += result.milliseconds;
      drawn.set(pane, JSON.stringify(wanted));
      const words = `after ${result.steps} of ${result.steps} steps`;
      film.add(new Map([[pane, result.picture]]), words, true);
    }
    film.end();
    if (todo.length > 1)
      stage.say(`Both drawn in ${(milliseconds / 1000).toFixed(1)} s, in this page.`);
  };
  stage.onDraw(() => draw(true));
  stage.body.append(
    el("div", { class: "live-bar" }, line.input, stage.button.element),
    line.element,
    el("div", { class: "live-fields" }, steps.element, shift.element),
    path.element,
    el(
      "div",
      { class: "live-row of-4" },
      ...[unet, flow, x0, velocity].map((pane) => pane.element),
    ),
    film.element,
    el("div", { class: "live-fields" }, seed.element, sampler.element),
    stage.status,
  );
  draw();
};
