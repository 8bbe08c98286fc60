"""A stand-in for a machine without network: `import daam` asks for spacy, 55 MB of wheels, and uses
it for parse trees only, which no chapter, test or benchmark asks for."""

from . import tokens as tokens


def load(name: str) -> None:
    """What daam calls for a parse tree.

    Raises:
        ImportError: always: this is not spacy.
    """
    raise ImportError(
        "This is a stand-in for spacy, without models: install spacy for parse trees."
    )
