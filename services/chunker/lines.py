"""Cutting text by its lines, where no grammar says better."""

# Labelled questions find their files as well with 750 as with 2,000, doc comments their functions the better the
# larger the chunk; every chunk costs time, memory and disk (docs/quality.md has the figures).
GOAL_BYTES = 1300
# A construct up to this size stays whole: 97 % of the functions of the standard library are shorter.
MAX_BYTES = 2100
# Shorter chunks (a few imports) say little on their own.
MIN_BYTES = 170

# Bytes of length that a line's start is worth. Two columns of indentation, one level of JSON, are worth more than
# the difference between half the goal and the goal.
_PER_COLUMN = 260
_MAX_COLUMNS = 16
_TAB_COLUMNS = 4
_LOOK_BYTES = 48
_NOT_BLANK_BEFORE = 260
_CLOSES = 1040
_CLOSING = (b"}", b"]", b")", b"</", b"end")
# Tried in order inside a line that is too long.
_BREAKS = (b"\r", b" ", b";", b",", b">", b"}")
_BREAK_WINDOW_BYTES = 200


def cut_lines(text: bytes, start: int, limit: int) -> int:
    """Return where the chunk that begins at `start` ends, at most `limit`.

    A line start if there is one in reach, else inside the line, never inside a code point.
    """
    rest = limit - start
    if rest <= MAX_BYTES:
        return limit
    # Equal parts: what is left before the limit shall not be a crumb.
    goal = min(GOAL_BYTES, rest // 2)
    best = _best_line(text, start, goal)
    return best if best > 0 else _inside_line(text, start + MAX_BYTES)


def _best_line(text: bytes, start: int, goal: int) -> int:
    """Look at line starts from the goal outward, until distance alone costs more than the best found; -1 if none."""
    best, best_cost = -1, 1 << 60
    middle, low, high = start + goal, start + MIN_BYTES, start + MAX_BYTES
    position = text.find(b"\n", middle - 1, high) + 1
    while position and position - middle < best_cost:
        if (cost := position - middle + _line_cost(text, position)) < best_cost:
            best, best_cost = position, cost
        position = text.find(b"\n", position, high) + 1
    position = text.rfind(b"\n", low, middle - 1) + 1
    while position and middle - position < best_cost:
        if (cost := middle - position + _line_cost(text, position)) < best_cost:
            best, best_cost = position, cost
        position = text.rfind(b"\n", low, position - 1) + 1
    return best


def _line_cost(text: bytes, position: int) -> int:
    line = text[position : position + _LOOK_BYTES]
    stripped = line.lstrip(b" \t")
    columns = (len(line) - len(stripped)) * (_TAB_COLUMNS if line.startswith(b"\t") else 1)
    closes = _CLOSES if stripped.startswith(_CLOSING) else 0
    crowded = _NOT_BLANK_BEFORE if text[position - 2] not in b"\n\r" else 0
    return min(columns, _MAX_COLUMNS) * _PER_COLUMN + closes + crowded


def _inside_line(text: bytes, end: int) -> int:
    for mark in _BREAKS:
        found = text.rfind(mark, end - _BREAK_WINDOW_BYTES, end - 1)
        if found >= 0:
            return found + 1
    while text[end] & 0xC0 == 0x80:
        end -= 1
    return end
