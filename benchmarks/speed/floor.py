"""The floor: reads and parses files in one process and does nothing else.

    python -m benchmarks.speed.floor LIST

LIST is JSON, [[path, grammar], ...]. No indexer that parses these files with
these grammars can use less CPU time, so it is the unit the indexing is measured in.
"""

import json
import sys
from pathlib import Path

from tree_sitter import Parser
from tree_sitter_language_pack import get_parser


def parse_all(files: list[tuple[str, str]]) -> int:
    """Read and parse every file and return the number of bytes."""
    parsers: dict[str, Parser] = {}
    total = 0
    for path, grammar in files:
        if grammar not in parsers:
            parsers[grammar] = get_parser(grammar)  # type: ignore[arg-type]
        data = Path(path).read_bytes()
        parsers[grammar].parse(data)
        total += len(data)
    return total


if __name__ == "__main__":
    listed = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps({"files": len(listed), "bytes": parse_all(listed)}))
