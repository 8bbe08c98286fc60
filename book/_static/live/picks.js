// One of a few things to pick: radio buttons that look like what they are for.
"use strict";

class Picks {
  /**
   * @param {string} name
   * @param {Record<string, Node | string>} options what each looks like
   * @param {string} value
   * @param {{className?: string, said?: (value: string) => string, onPick?: (value: string) => void}} look
   *   said: what each is called, where its looks do not say it
   */
  constructor(name, options, value, { className = "", said, onPick = () => {} }) {
    this.onPick = onPick;
    const row = el("div", { class: "live-picks-row" });
    this.inputs = Object.entries(options).map(([option, shown]) => {
      const input = el("input", {
        type: "radio",
        name, // of its form: each stage is one
        value: option,
        checked: option === value,
        "aria-label": said ? said(option) : undefined,
        onchange: () => this.onPick(option),
      });
      const title = said ? said(option) : undefined;
      row.append(el("label", { class: "live-pick", title }, input, shown));
      return input;
    });
    this.element = el(
      "div",
      { class: `live-picks ${className}`.trim(), role: "radiogroup", "aria-label": name },
      el("span", { class: "live-name", "aria-hidden": "true" }, name),
      row,
    );
  }

  get value() {
    return this.inputs.find((input) => input.checked)?.value ?? "";
  }

  set value(value) {
    for (const input of this.inputs) input.checked = input.value === value;
  }
}
