// Small parts that stages are made of: elements, pictures on a canvas, chips to press.
"use strict";

/**
 * An element with its attributes, listeners ("onclick") and children.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/** A picture with its title: every pixel a square, and words for who does not see it. */
class Pane {
  /**
   * @param {string} title
   * @param {number} size
   * @param {string} [className]
   */
  constructor(title, size, className = "") {
    this.title = title;
    this.canvas = el("canvas", {
      width: size,
      height: size,
      role: "img",
      "aria-label": `${title}: nothing yet`,
    });
    this.caption = el("span", { class: "live-caption", "aria-hidden": "true" }, title);
    this.element = el("div", { class: `live-pane ${className}`.trim() }, this.canvas, this.caption);
  }

  /**
   * @param {Picture} picture
   * @param {string} words what it is, and at which step
   */
  show({ data, width, height }, words) {
    const pixels = new ImageData(width, height);
    pixels.data.set(data);
    if (this.canvas.width !== width || this.canvas.height !== height)
      Object.assign(this.canvas, { width, height });
    this.context().putImageData(pixels, 0, 0);
    this.canvas.setAttribute("aria-label", `${this.title} ${words}`);
  }

  /** @param {string} title */
  rename(title) {
    this.title = title;
    this.caption.textContent = title;
  }

  context() {
    return /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
  }

  /**
   * Saves what it shows as PNG with the label of a generated picture, each pixel a square of so many.
   * @param {string} name
   * @param {string} [origin] how a model had part in it, in the words of companion.door.labels.Origin
   * @param {number} [times]
   */
  async save(name, origin = "trainedAlgorithmicMedia", times = 8) {
    const { width, height } = this.canvas;
    const large = el("canvas", { width: width * times, height: height * times });
    const context = /** @type {CanvasRenderingContext2D} */ (large.getContext("2d"));
    context.imageSmoothingEnabled = false;
    context.drawImage(this.canvas, 0, 0, large.width, large.height);
    const href = URL.createObjectURL(await labelledPng(large, origin));
    el("a", { href, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
  }
}

/** Words to press, in a group with a name. Pressed ones are those of `chosen`. */
class Chips {
  /**
   * @param {string} name
   * @param {string[]} words
   * @param {(word: string) => void} onPress
   * @param {{colours?: boolean}} [look] colours: each has a dot of the colour that it names
   */
  constructor(name, words, onPress, { colours = false } = {}) {
    this.buttons = words.map((word) => {
      const dot = colours ? [el("span", { class: "live-dot", style: `background: ${word}` })] : [];
      return el(
        "button",
        {
          type: "button",
          class: "live-chip",
          value: word,
          "aria-pressed": "false",
          onclick: () => onPress(word),
        },
        ...dot,
        word,
      );
    });
    this.row = el("div", { class: "live-chips-row" }, ...this.buttons);
    this.element = el(
      "div",
      { class: "live-chips", role: "group", "aria-label": name },
      el("span", { class: "live-chips-name", "aria-hidden": "true" }, name),
      this.row,
    );
  }

  /** @param {(string | null | undefined)[]} chosen */
  choose(...chosen) {
    for (const button of this.buttons) {
      const pressed = chosen.includes(button.value);
      button.setAttribute("aria-pressed", String(pressed));
      // On a phone a row is longer than the screen: what is chosen comes into view.
      if (pressed) this.row.scrollLeft = button.offsetLeft - this.row.offsetLeft - 8;
    }
  }
}
