"""The one name that daam's annotations use."""


class Token:
    """Of spacy; nothing makes one here."""
