"""What the points of an index depend on besides its model, each raised whenever its output changes.

They are part of an index's schema: another one means that everything is indexed again.
"""

SPLITTER_VERSION = "2"
SPARSE_VERSION = 2
TOKENISER_VERSION = 1


def static_model_id(name: str, digest: str) -> str:
    """Return the id of a static model from what its config.json says, as `Embedder.model_id` has it."""
    return f"{name}@{digest[:12]}-t{TOKENISER_VERSION}"
