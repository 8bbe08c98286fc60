// What is to be drawn, as a reader says it: the prompt with its chips, seed, steps, guidance and sampler.
"use strict";

class Wish {
  /**
   * @param {Stage} stage whose settings it begins with
   * @param {() => void} draw
   * @param {() => void} [onSteps] when the number of steps is moved
   */
  constructor({ model, settings }, draw, onSteps) {
    this.line = new PromptLine("Prompt", settings.prompt, {
      onType: (text) => this.chips.read(text),
    });
    this.chips = new SceneChips(model, (sentence) => {
      this.line.value = sentence;
    });
    this.seed = new Seed(settings.seed, draw);
    this.steps = new Slider("Steps", { min: 1, max: 50, value: settings.steps, onMove: onSteps });
    this.guidance = new Slider("Guidance", {
      min: 0,
      max: 12,
      step: 0.5,
      value: settings.guidance,
    });
    this.sampler = samplerChoice(model, settings.sampler);
    this.fields = [
      this.steps.element,
      this.guidance.element,
      this.seed.element,
      this.sampler.element,
    ];
    this.chips.read(settings.prompt);
  }

  /** As `stage.run` takes them. */
  get settings() {
    return {
      prompt: this.line.value,
      seed: this.seed.value,
      steps: this.steps.value,
      guidance: this.guidance.value,
      sampler: this.sampler.value,
    };
  }
}
