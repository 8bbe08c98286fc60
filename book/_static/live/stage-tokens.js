// The stage "tokens": what the tokenizer makes of what one types, and which pieces the model has never seen.
"use strict";

kinds.tokens = (stage) => {
  const line = new PromptLine("Prompt", stage.settings.prompt, { ids: true });
  stage.onDraw(() => line.look());
  stage.body.append(el("div", { class: "live-bar" }, line.input), line.element);
};
