// The stage "paint": image to image from what one paints, and inpainting where one marks.
"use strict";

kinds.paint = (stage) => {
  const { model, figure } = stage;
  const painting = new Painting(model.size, model.size / model.latents);
  const { start, mask, tool = "paint" } = figure.dataset;
  const scene = start ? embeddedPixels(start) : null;
  if (scene) painting.beginWith(scene);
  else painting.beginPlain(PALETTE.blue);
  if (mask) painting.mask = embeddedMask(mask, painting);
  painting.past = [];

  const wish = new Wish(
    stage,
    () => draw(),
    () => strength.show(),
  );
  const strength = new Slider("Strength", {
    min: 0.05,
    max: 1,
    step: 0.05,
    value: stage.strength,
    said: (value) =>
      `${value.toFixed(2)}: ${Math.floor(wish.steps.value * value)} of ${wish.steps.value} steps`,
    onRest: () => draw(),
  });
  const result = new Pane("Result", model.size);
  const film = new Film([result]);
  const plan = el("p", { class: "live-plan" });

  /** After a stroke, and after all that changes the painting. */
  const changed = () => {
    easel.show();
    box.canUndo(painting.past.length > 0);
    const percent = Math.round(100 * painting.marked);
    plan.textContent = painting.marked
      ? `Inpainting: Draw repaints what is striped, ${percent} % of the picture. The rest stays.`
      : "Image to image: Draw starts from what is painted here.";
  };
  /** @param {() => void} change */
  const after = (change) => () => {
    change();
    changed();
  };
  const undo = after(() => painting.undo());
  const box = paintBox(painting, tool, {
    onTool: () => {},
    onClear: after(() => painting.clear(box.brush().tool)),
    onUndo: undo,
  });
  const easel = new Easel(painting, box.brush, { onStroke: changed, onUndo: undo });

  /** @type {Result | null} */
  let drawn = null;
  const goOn = el(
    "button",
    {
      type: "button",
      hidden: true,
      onclick: after(() => {
        if (drawn) painting.beginWith(drawn.picture.data);
      }),
    },
    "Go on with the result",
  );
  const save = el(
    "button",
    {
      type: "button",
      hidden: true,
      onclick: () =>
        result.save(
          `painted-seed-${wish.seed.value}.png`,
          "compositeWithTrainedAlgorithmicMedia", // a model changed a picture that was given
        ),
    },
    "Save the picture",
  );
  const begin = el(
    "div",
    { class: "live-buttons", role: "group", "aria-label": "Begin with" },
    el("span", { class: "live-name", "aria-hidden": "true" }, "Begin with"),
    ...(scene
      ? [
          el(
            "button",
            { type: "button", onclick: after(() => painting.beginWith(scene)) },
            "The scene",
          ),
        ]
      : []),
    el(
      "button",
      { type: "button", onclick: after(() => painting.beginPlain(box.brush().colour)) },
      "A plain ground",
    ),
  );

  const draw = async () => {
    /** @type {Wanted} */
    const wanted = {
      ...wish.settings,
      start: {
        pixels: painting.pixels.slice(), // one may paint on meanwhile
        strength: strength.value,
        mask: painting.marked ? painting.mask.slice() : null,
      },
    };
    film.begin();
    for (const button of [goOn, save]) button.hidden = true;
    const found = await stage.run(wanted, ({ index, of, picture }) => {
      if (picture) film.add(new Map([[result, picture]]), `${index} of ${of} steps`);
    });
    if (!found) {
      if (!stage.current) film.end();
      return;
    }
    drawn = found;
    const all = `${found.steps} of ${found.steps} steps`;
    film.add(new Map([[result, found.picture]]), all, true);
    film.end();
    for (const button of [goOn, save]) button.hidden = false;
  };
  stage.onDraw(draw);
  stage.body.append(
    wish.line.input,
    wish.line.element,
    el(
      "div",
      { class: "live-studio" },
      el("div", { class: "live-column" }, easel.element, box.element, begin),
      el(
        "div",
        { class: "live-column" },
        el(
          "div",
          { class: "live-go" },
          strength.element,
          el("div", { class: "live-bar" }, plan, stage.button.element),
        ),
        result.element,
        film.element,
        stage.status,
        el("div", { class: "live-buttons" }, goOn, save),
      ),
    ),
    wish.chips.element,
    el("div", { class: "live-fields of-4" }, ...wish.fields),
  );
  changed();
  if (scene) draw();
};
