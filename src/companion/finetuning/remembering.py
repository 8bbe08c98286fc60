"""What a model still draws after it was taught something: asked of the zoo's classifier."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from diffusers import StableDiffusionPipeline
from PIL import Image

from companion.door import printable
from companion.metrics import Interval, wilson
from companion.scenes import backgrounds as colours
from companion.scenes import caption, objects, subset
from companion.zoo.recognise import Seen, recognise

from .drawing import STEPS, draw
from .examples import HELD_OUT, KNOWN


@dataclass(frozen=True)
class Asked:
    """A picture that was asked for, and what the classifier sees on it.

    Attributes:
        name: the object.
        background: the colour.
        seed: of the noise.
        image: the picture.
        seen: what the classifier names.
    """

    name: str
    background: str
    seed: int
    image: Image.Image
    seen: Seen

    @property
    def named(self) -> bool:
        """Whether the classifier names the object."""
        return self.name in self.seen.objects


@dataclass(frozen=True)
class Remembered:
    """What a model draws of old and new objects: shares 0..1 with a 95 % interval (Wilson 1927).

    Attributes:
        pictures: all that were asked for.
        new_objects: which of the objects are new.
    """

    pictures: tuple[Asked, ...]
    new_objects: tuple[str, ...]

    @cached_property
    def old(self) -> Interval:
        """Pictures of old objects on which the classifier names the object."""
        return wilson(asked.named for asked in self.pictures if asked.name not in self.new_objects)

    @cached_property
    def new(self) -> Interval:
        """The same of the new ones."""
        return wilson(asked.named for asked in self.pictures if asked.name in self.new_objects)

    @cached_property
    def background(self) -> Interval:
        """Pictures of old objects with the right background."""
        return wilson(
            asked.seen.background == asked.background
            for asked in self.pictures
            if asked.name not in self.new_objects
        )

    @cached_property
    def leaked(self) -> Interval:
        """Pictures of old objects on which the classifier names a new one."""
        return wilson(
            not set(self.new_objects).isdisjoint(asked.seen.objects)
            for asked in self.pictures
            if asked.name not in self.new_objects
        )

    @cached_property
    def by_object(self) -> dict[str, Interval]:
        """Pictures of each object on which it is named."""
        names = dict.fromkeys(asked.name for asked in self.pictures)
        return {
            name: wilson(asked.named for asked in self.pictures if asked.name == name)
            for name in names
        }

    @property
    def images(self) -> list[Image.Image]:
        """The pictures, object by object."""
        return [asked.image for asked in self.pictures]


def forgetting(
    pipeline: StableDiffusionPipeline,
    new: Sequence[str] = (),
    *,
    old: Iterable[str] | None = None,
    backgrounds: Sequence[str] = HELD_OUT[:3],
    seeds: Sequence[int] = (0,),
    words: Mapping[str, str] | None = None,
    style: str | None = None,
    steps: int = STEPS,
    guidance_scale: float = 4.0,
) -> Remembered:
    """Let a model draw what it knew and what it was taught, and let the classifier name it.

    The same backgrounds and seeds give every model the same noise: what differs is the model.
    Chapter 8, "What was forgotten".

    Args:
        pipeline: the zoo's Stable Diffusion, taught or not.
        new: objects that it was taught.
        old: objects that it knew; by default all 16. An empty list asks for the new ones alone.
        backgrounds: names of colours, each for every object; by default three that fine-tuning
            never shows with the new object.
        seeds: of the noise, each for every object and background.
        words: what stands for an object in the prompt where it is not its name: a new token.
        style: said in every prompt.
        steps: denoising steps (UniPC).
        guidance_scale: how much the prompt counts.

    Raises:
        ValueError: the classifier knows no such object or background, or nothing is asked.
    """
    known = tuple(subset(KNOWN).objects if old is None else old)
    names = [*known, *(name for name in new if name not in known)]
    for what, given, there in (
        ("object", names, objects()),
        ("background", backgrounds, tuple(colours())),
    ):
        for name in given:
            if name not in there:
                raise ValueError(
                    f"The classifier knows no {what} {printable(str(name))!r}: choose of "
                    f"{', '.join(sorted(there))}."
                )
    plan = [(name, colour, seed) for name in names for colour in backgrounds for seed in seeds]
    if not plan:
        raise ValueError("Nothing is asked: give an object, a background and a seed at least.")
    prompts = []
    for name, colour, _ in plan:
        text = caption([name], background=colour, style=style)
        word = (words or {}).get(name, name)
        prompts.append(text if word == name else text.replace(name, word, 1))
    images = draw(
        pipeline,
        prompts,
        [seed for _, _, seed in plan],
        steps=steps,
        guidance_scale=guidance_scale,
    )
    pictures = [
        Asked(name, colour, seed, image, seen)
        for (name, colour, seed), image, seen in zip(plan, images, recognise(images), strict=True)
    ]
    return Remembered(tuple(pictures), tuple(new))
