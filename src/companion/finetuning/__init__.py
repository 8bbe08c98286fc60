"""Chapter 8: teaching a trained model something new.

A fox, for the zoo's Stable Diffusion that has never seen one:

    from companion.finetuning import FinetuneConfig, finetune
    fox = FinetuneConfig(dataset_name="object:fox", token="<fox>")
    finetune(fox)  # into the folder fox-lora
"""

import lazy_loader

# What `__init__.pyi` names, loaded when it is asked for: `companion train --help` needs no torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
