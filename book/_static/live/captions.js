// The sentences that the model was trained on: made of chosen words, and read back into them.
// The grammar is that of src/companion/scenes/captions.py.
"use strict";

/** @typedef {{things: string[], relation: string | null, background: string | null}} Scene */

/** @param {string} name */
function withArticle(name) {
  if (name === "sushi") return name;
  return `${"aeio".includes(name[0]) ? "an" : "a"} ${name}`;
}

/**
 * @param {Scene} scene
 * @returns {string}
 */
function sentenceOf({ things, relation, background }) {
  const said = things.map(withArticle).join(` ${relation ?? "and"} `);
  return background ? `${said} on ${withArticle(background)} background` : said;
}

/**
 * What a sentence asks for, where it is one of the grammar.
 * @param {string} sentence
 * @param {Model} model
 * @returns {Scene | null}
 */
function sceneOf(sentence, { objects, backgrounds, relations }) {
  const thing = `(?:an? )?(${objects.join("|")})`;
  const grammar = new RegExp(
    `^(?:a (?:picture|photo) of )?${thing}(?: (${relations.join("|")}) ${thing})?` +
      `(?: on an? (${backgrounds.join("|")}) background)?$`,
  );
  const found = sentence.trim().toLowerCase().replace(/\s+/g, " ").match(grammar);
  if (!found) return null;
  const [, first, relation, second, background] = found;
  return {
    things: second ? [first, second] : [first],
    relation: relation ?? null,
    background: background ?? null,
  };
}

/** Chips for things, relations and backgrounds, which write a sentence and follow one that is typed. */
class SceneChips {
  /**
   * @param {Model} model
   * @param {(sentence: string) => void} onSentence
   */
  constructor(model, onSentence) {
    this.model = model;
    /** @type {Scene} */
    this.scene = { things: [], relation: null, background: null };
    /** @param {Partial<Scene>} change */
    const write = (change) => {
      Object.assign(this.scene, change);
      if (this.scene.things.length === 2) this.scene.relation ??= this.model.relations[0];
      this.mark();
      if (this.scene.things.length) onSentence(sentenceOf(this.scene));
    };
    this.things = new Chips("Things", model.objects, (word) => {
      const { things } = this.scene;
      // Pressed again, a thing goes; a third takes the place of the second.
      const left = things.filter((thing) => thing !== word);
      write({ things: left.length < things.length ? left : [...things.slice(0, 1), word] });
    });
    this.relations = new Chips("How they stand", model.relations, (relation) =>
      write({ relation }),
    );
    this.backgrounds = new Chips(
      "Background",
      model.backgrounds,
      (word) => write({ background: word === this.scene.background ? null : word }),
      { colours: true },
    );
    this.element = el(
      "div",
      { class: "live-scene" },
      this.things.element,
      this.relations.element,
      this.backgrounds.element,
    );
    this.mark();
  }

  /** @param {string} sentence as it is typed; of one that they cannot say, the chips show nothing */
  read(sentence) {
    const scene = sceneOf(sentence, this.model);
    this.scene = scene ?? { things: [], relation: null, background: null };
    this.mark();
  }

  mark() {
    const { things, relation, background } = this.scene;
    this.things.choose(...things);
    this.relations.choose(relation);
    this.backgrounds.choose(background);
  }
}
