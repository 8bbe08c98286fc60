"""Libraries that a command keeps quiet: what they warn of is nothing that its user could change."""


def quiet_libraries() -> None:
    """No warnings of theirs, and no progress bar while loading; drawing shows how far it is."""
    from diffusers.utils import logging as of_diffusers
    from transformers import logging as of_transformers

    for logging in (of_diffusers, of_transformers):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
