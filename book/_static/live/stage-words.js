// The stage "words": what is drawn, and which word was looked up where, added up from the same run.
"use strict";

/**
 * The words that have a map, and whether the model has ever seen them.
 * @param {HeatMaps} maps
 * @param {Tokens} tokens
 * @returns {LitWord[]}
 */
function litWords({ words }, { pieces }) {
  return words.map(({ text, first, last, map }) => ({
    text,
    map,
    light: stretched(map),
    seen: pieces.slice(first, last + 1).every(({ known }) => known),
  }));
}

/**
 * Which words have no light, and why.
 * @param {LitWord[]} words
 * @param {Tokens} tokens
 */
function sentencesOn(words, { pieces, kept }) {
  const said = [];
  const names = [...new Set(words.filter(({ seen }) => !seen).map(({ text }) => `“${text}”`))];
  const it = names.length > 1 ? "them" : "it";
  if (names.length) said.push(`Not lit: ${names.join(", ")}. The model has never seen ${it}.`);
  if (pieces.length > kept)
    said.push(`A prompt has room for ${kept} pieces. What comes after them was cut off.`);
  return said.join(" ");
}

kinds.words = (stage) => {
  const wish = new Wish(stage, () => draw());
  const lights = new WordLights(stage.model.size);
  const notLit = el("p", { class: "live-remark" });

  const draw = async () => {
    lights.wait();
    notLit.textContent = "";
    const wanted = { ...wish.settings, heatMaps: true };
    const result = await stage.run(wanted, ({ index, of, picture }) => {
      if (picture) lights.pane.show(picture, `after ${index} of ${of} steps`);
    });
    if (!result?.heatMaps) return;
    const tokens = await (await Live.ready()).tokens(wanted.prompt);
    if (stage.current) return; // the next one is drawn already
    lights.pane.show(result.picture, `of “${wanted.prompt}”`);
    lights.take(litWords(result.heatMaps, tokens), result.steps);
    notLit.textContent = sentencesOn(lights.words, tokens);
  };
  stage.onDraw(draw);
  stage.body.append(
    el("div", { class: "live-bar" }, wish.line.input, stage.button.element),
    wish.chips.element,
    el(
      "div",
      { class: "live-view" },
      el("div", { class: "live-column" }, lights.picture, lights.row),
      el(
        "div",
        { class: "live-side" },
        el(
          "div",
          { class: "live-column" },
          lights.status,
          el(
            "div",
            { class: "live-legend" },
            el("span", {}, "least"),
            el("span", { class: "live-scale" }),
            el("span", {}, "most"),
          ),
          el(
            "p",
            { class: "live-remark" },
            "Bright is where a word is looked up most. Each map is stretched over its own range: it compares the ",
            "places of one word, and not the words.",
          ),
          notLit,
        ),
        el("div", { class: "live-fields" }, ...wish.fields),
      ),
    ),
    stage.status,
  );
  draw();
};
