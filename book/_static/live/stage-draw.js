// The stage "draw": a sentence becomes a picture, step by step, with what the network thinks of it on the way.
"use strict";

kinds.draw = (stage) => {
  const wish = new Wish(stage, () => draw());
  const { picture, x0, residual, film, onStep, onResult } = threePictures(stage);
  let drawn = wish.settings;
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
    const wanted = wish.settings;
    film.begin();
    save.hidden = true;
    const result = await stage.run(wanted, onStep);
    if (!result) {
      if (!stage.current) film.end(); // stopped: the steps so far are there to look at
      return;
    }
    drawn = wanted;
    onResult(result);
    save.hidden = false;
  };
  stage.onDraw(draw);
  stage.body.append(
    el("div", { class: "live-bar" }, wish.line.input, stage.button.element),
    wish.line.element,
    wish.chips.element,
    el(
      "div",
      { class: "live-view" },
      picture.element,
      el(
        "div",
        { class: "live-side" },
        el("div", { class: "live-pair" }, x0.element, residual.element),
        el("div", { class: "live-fields" }, ...wish.fields),
      ),
      film.element,
    ),
    el("div", { class: "live-foot" }, stage.status, save),
  );
  draw();
};
