"""Chapter 7: flow matching, and text to image with a transformer of Stable Diffusion 3's layout.

    model = "stabilityai/stable-diffusion-3-medium-diffusers"
    parts = load_parts(model, device="cuda")
    pictures = text_to_image(parts, "a cat on a blue background", seeds=1145)

gives the pictures of `diffusers.StableDiffusion3Pipeline` at the same seed. `euler` follows any
velocity: a transformer's (`text_velocity`), that of a UNet which predicts noise (`ddpm_velocity`),
or a function of your own. In this package t is 0 for a picture and 1 for noise.
"""

from .drawing import Parts, encode_prompt, load_parts, text_to_image, text_velocity
from .of_ddpm import ddpm_velocity, flow_scale, flow_time
from .path import interpolate, noise_of, picture_of, velocity, velocity_from_noise
from .sampling import Step, Velocity, euler, straightness
from .times import flow_times, logit_normal, logit_normal_density, resolution_shift, shifted

__all__ = [
    "Parts",
    "Step",
    "Velocity",
    "ddpm_velocity",
    "encode_prompt",
    "euler",
    "flow_scale",
    "flow_time",
    "flow_times",
    "interpolate",
    "load_parts",
    "logit_normal",
    "logit_normal_density",
    "noise_of",
    "picture_of",
    "resolution_shift",
    "shifted",
    "straightness",
    "text_to_image",
    "text_velocity",
    "velocity",
    "velocity_from_noise",
]
