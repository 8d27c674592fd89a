"""Choosing where a text is cut, out of the places that its structure offers.

A place is one integer, so that sorting is cheap: the byte position of a line start, and a level,
lower where the text falls apart more naturally.
"""

from services.chunker.lines import GOAL_BYTES, MAX_BYTES, MIN_BYTES, cut_lines

# What is this much above MAX_BYTES stays whole, so that a short neighbour never splits it.
_SLACK_BYTES = 350
# A piece of a divided construct that is this long stands alone rather than run into the next construct.
_ALONE_BYTES = 430

_LEVEL_BITS = 10
_LEVEL_MASK = (1 << _LEVEL_BITS) - 1
# Levels of one step into a construct, between a comment and what it explains, and without a blank line.
STEP = 8
WEAK = 6
CROWDED = 1
MAX_LEVEL = _LEVEL_MASK - 2 * STEP
# Bytes of distance from the goal that a level is worth: a step is worth 800. With more, most pieces of long
# functions come out too short; with less, cuts fall in the middle of a statement.
_BYTES_PER_LEVEL = 100
# What it costs to leave less than _ALONE_BYTES of a construct for the chunk after.
_CRUMB = 870


def place(position: int, level: int) -> int:
    """Pack a position and a level into a sortable integer."""
    return position << _LEVEL_BITS | level


def choose_cuts(text: bytes, places: list[int]) -> list[int]:
    """Return the end of each chunk, ascending; the last is the length of the text (not empty).

    `places` may be in any order; positions in it are starts of lines.
    """
    size = len(text)
    places.append(place(size, 0))
    places.sort()
    cuts: list[int] = []
    here, level, first = 0, 0, 0
    while size - here > MIN_BYTES:
        end, level, first = _next_cut(places, first, here, level)
        if end < 0:
            end = cut_lines(text, here, places[first] >> _LEVEL_BITS)
        cuts.append(end)
        here = end
    if cuts and here < size:
        cuts.pop()
    if here < size:
        cuts.append(size)
    return cuts


def _next_cut(places: list[int], first: int, here: int, level_here: int) -> tuple[int, int, int]:
    """Return the best place after `here` with its level and the index to go on from; -1 if lines must decide."""
    size = places[-1] >> _LEVEL_BITS
    low, high = place(here + MIN_BYTES, 0), place(here + MAX_BYTES + _SLACK_BYTES + 1, 0)
    while places[first] < low:
        first += 1
    best, best_cost, best_level = -1, 1 << 60, MAX_LEVEL
    for index in range(first, len(places)):
        if places[index] >= high:
            break
        position, level = places[index] >> _LEVEL_BITS, places[index] & _LEVEL_MASK
        length = position - here
        if level + STEP <= best_level and position - best < _ALONE_BYTES:
            best_cost += _CRUMB
        cost = level * _BYTES_PER_LEVEL + abs(length - GOAL_BYTES)
        if length > MAX_BYTES:
            cost += 2 * (length - MAX_BYTES)
        elif length < _ALONE_BYTES:
            cost += 2 * (_ALONE_BYTES - length)
        if cost < best_cost and (position == size or size - position >= MIN_BYTES):
            best, best_cost, best_level = position, cost, level
        if level + STEP <= level_here and length >= _ALONE_BYTES:
            break
    return best, best_level, first
