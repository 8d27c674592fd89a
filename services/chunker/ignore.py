"""Which paths .gitignore and .quarryignore leave out, by git's rules.

The rules of nested folders form a chain, innermost first; the first that has
an opinion decides. Matching is linear in the path (RE2), whatever the pattern.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import re2

from services.chunker.ignore_pattern import Pattern, parse

# In a plain directory both are read, the second after the first; in a git tree .gitignore is no concern
# of ours: what it names and is committed nevertheless was committed on purpose.
DIRECTORY_FILES = (".gitignore", ".quarryignore")
TREE_FILE = ".quarryignore"

# More patterns than this overflow the memory of one RE2 set (2,000 did; 256 match in 0.3 ms at worst).
_PATTERNS_PER_SET = 256


@dataclass(frozen=True, slots=True)
class Rules:
    """The patterns of one folder (`prefix` ends in a slash, "" is the root) and those of the folders around it."""

    prefix: str
    patterns: Sequence[Pattern]
    matcher: re2.Set
    outer: "Rules | None"

    def ignores(self, path: str) -> bool:
        """Whether `path` is left out; a folder's path ends in a slash, and its parents were not left out."""
        is_folder = path.endswith("/")
        name = path[:-1] if is_folder else path
        rules: Rules | None = self
        while rules is not None:
            last = -1
            for number in rules.matcher.Match(name[len(rules.prefix) :]) or ():
                if number > last and (is_folder or not rules.patterns[number].folders_only):
                    last = number
            if last >= 0:
                return not rules.patterns[last].negated
            rules = rules.outer
        return False


def nested(outer: Rules | None, prefix: str, text: str) -> Rules | None:
    """Return the rules in a folder below `outer` whose ignore file says `text`; `outer` itself if it says nothing."""
    lines = text.removeprefix("\ufeff").split("\n")
    patterns = [pattern for line in lines if (pattern := parse(line))]
    rules = outer
    for start in range(0, len(patterns), _PATTERNS_PER_SET):
        rules = _compile(rules, prefix, patterns[start : start + _PATTERNS_PER_SET])
    return rules


def _compile(outer: Rules | None, prefix: str, patterns: Sequence[Pattern]) -> Rules | None:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.dot_nl = True
    matcher = re2.Set.FullMatchSet(options)
    try:
        for pattern in patterns:
            matcher.Add(pattern.regex)
        matcher.Compile()
    except re2.error:
        # One of them is not valid or too large: halves find out which, and leave it out.
        if len(patterns) == 1:
            return outer
        half = len(patterns) // 2
        return _compile(_compile(outer, prefix, patterns[:half]), prefix, patterns[half:])
    return Rules(prefix, patterns, matcher, outer)


@dataclass
class TreeRules:
    """The rules of a whole tree: `texts` maps a folder ("" or ending in a slash) to what its ignore file says."""

    texts: Mapping[str, str]
    _folders: dict[str, tuple[bool, Rules | None]] = field(default_factory=dict)

    def ignores(self, path: str) -> bool:
        """Whether the file at `path`, or a folder it lies in, is left out."""
        if not self.texts:
            return False
        left_out, rules = self._folder(path[: path.rfind("/") + 1])
        return left_out or (rules is not None and rules.ignores(path))

    def _folder(self, prefix: str) -> tuple[bool, Rules | None]:
        known = self._folders.get(prefix)
        if known is None:
            # Iterative, outermost first: a hostile tree is deeper than Python's stack.
            known = (False, nested(None, "", self.texts.get("", "")))
            for end in (i + 1 for i, letter in enumerate(prefix) if letter == "/"):
                known = self._entered(prefix[:end], *known)
            self._folders[prefix] = known
        return known

    def _entered(self, prefix: str, left_out: bool, rules: Rules | None) -> tuple[bool, Rules | None]:
        if prefix not in self._folders:
            left_out = left_out or (rules is not None and rules.ignores(prefix))
            text = self.texts.get(prefix)
            self._folders[prefix] = (left_out, nested(rules, prefix, text) if text and not left_out else rules)
        return self._folders[prefix]
