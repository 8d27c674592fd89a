"""A text cut into chunks that tile it, along its syntax where its language has a grammar."""

from dataclasses import dataclass

from services.chunker.grammars import GRAMMARS, rules_for
from services.chunker.nesting import is_too_deep
from services.chunker.sections import SECTIONS, sections
from services.chunker.split_cuts import choose_cuts
from services.chunker.split_tree import outline
from services.chunker.symbols import Definition, Symbols
from services.core.model import Chunk, ParseNote


@dataclass(frozen=True, slots=True)
class Split:
    """The chunks of a text, in order, and why a grammar was not used (a `ParseNote`, or "")."""

    chunks: tuple[Chunk, ...]
    note: str = ""


def split(text: bytes, language: str, *, parse: bool = True) -> Split:
    """Cut valid UTF-8 into chunks that tile it; no chunk is empty, no code point is cut.

    With `parse` off the text is cut by lines although its language has a grammar: the way out for
    what crashes the parser or takes it too long.
    """
    if not text:
        return Split(())
    places: list[int] = []
    definitions: list[Definition] = []
    note = ""
    if language in SECTIONS:
        places, definitions = sections(text, language)
    elif language in GRAMMARS and parse:
        if is_too_deep(text):
            note = ParseNote.TOO_DEEP.value
        else:
            rules = rules_for(language)
            places, definitions = outline(rules.parser.parse(text).root_node, text, rules)
    return Split(_chunks(text, choose_cuts(text, places), definitions), note)


def _chunks(text: bytes, cuts: list[int], definitions: list[Definition]) -> tuple[Chunk, ...]:
    symbols = Symbols(definitions)
    chunks = []
    start, line = 0, 1
    for end in cuts:
        next_line = line + text.count(b"\n", start, end)
        last_line = next_line - 1 if text[end - 1] == 10 else next_line
        chunks.append(Chunk(start, end, line, last_line, symbols.symbol(text, start, end), symbols.defines(end)))
        start, line = end, next_line
    return tuple(chunks)
