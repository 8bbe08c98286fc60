"""The saved pipeline, uploaded to the hub."""

from pathlib import Path

from .config import TrainingConfig

# The pipeline, what it drew, and a card that the reader may have written; nothing else there is.
UPLOADED = ("model_index.json", "unet/*", "scheduler/*", "samples/*", "README.md")


def check_hub(config: TrainingConfig) -> None:
    """Keep the reader's token from hosts that are not the official one, before anything is loaded.

    Raises:
        ValueError: the pipeline would be uploaded to such a host, which takes the token.
    """
    from companion.hub.tokens import keep_token_home, may_be_told

    keep_token_home()
    if config.push_to_hub and not may_be_told():
        raise ValueError(
            "push_to_hub would send your token to the host that HF_ENDPOINT names, which is not "
            "the official one: unset HF_ENDPOINT, or set HF_HUB_DISABLE_IMPLICIT_TOKEN=0 if it may "
            "see the token, before Python starts."
        )


def push(config: TrainingConfig, folder: Path, message: str) -> str:
    """Upload a saved pipeline; the address of the commit.

    An upload that breaks off is tried again, by huggingface_hub itself, up to five times.

    Raises:
        OSError: the hub refused or could not be reached; the pipeline is on the disk all the same.
    """
    from huggingface_hub import HfApi

    name = config.hub_model_id or folder.resolve().name
    api = HfApi()
    try:
        repository = api.create_repo(name, private=config.hub_private_repo, exist_ok=True)
        return api.upload_folder(
            repo_id=repository.repo_id,
            folder_path=folder,
            commit_message=message,
            allow_patterns=list(UPLOADED),
        ).commit_url
    except Exception as error:  # the library, its HTTP client and hf_xet have errors of their own
        cause = error.__cause__ or error  # else "Error while uploading" and no why
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise OSError(
            f"The pipeline could not be uploaded as {name} ({reason}): it is whole in {folder}, "
            "and resuming the finished run uploads it."
        ) from error
