"""A batch of texts, tokenised at most once for both the sparse and the static dense vectors."""

from collections.abc import Sequence


class Texts:
    """Texts to embed; `texts[rows]` of a batch share its tokenisation."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)

    def __len__(self) -> int:
        return len(self.texts)
