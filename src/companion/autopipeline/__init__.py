"""Chapter 4: pipelines for a task, checked, made fast, and kept with their settings.

From a task to a picture that is kept:

    pipe = load("text-to-image")
    print(optimise(pipe))
    prompt = "a dinosaur and sushi"
    (picture,) = draw(pipe, prompt, seeds=37)
    save_with_settings("picture.png", picture, pipe, prompt, seed=37)
"""

from .deciding import Decision, Report
from .drawing import draw
from .loading import TASKS, load
from .optimising import optimise
from .saving import load_settings, save_with_settings
from .schedulers import make_scheduler, scheduler_names
from .settings import Settings
from .sweeping import Drawn, sweep

__all__ = [
    "TASKS",
    "Decision",
    "Drawn",
    "Report",
    "Settings",
    "draw",
    "load",
    "load_settings",
    "make_scheduler",
    "optimise",
    "save_with_settings",
    "scheduler_names",
    "sweep",
]
