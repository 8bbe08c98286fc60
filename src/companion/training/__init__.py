"""Chapter 5: training an unconditional diffusion model.

A run with your own pictures:

    from companion.training import TrainingConfig, train
    train(TrainingConfig(dataset_name="my-pictures", image_size=64))
"""

import lazy_loader

# What `__init__.pyi` names, loaded when it is asked for: `companion train --help` needs no torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
