"""The sentence that a doc comment begins with, taken out of a definition's text, and the code without it."""

import re

_C = r"/\*.*?\*/|//[^\n]*"
_HASH = r"#(?!include|define|\[)[^\n]*"
# What may stand between a comment and its definition: attributes, decorators, annotations.
_ATTRIBUTE = r"#!?\[[^\]\n]*\]|\[[A-Z][^\]\n]*\](?=\s*\n)|@\w[\w.]*(?:\([^)\n]*\))?(?=\s)"
_LEADING = {
    language: re.compile(rf"(?:\s+|{pattern})*", re.DOTALL)
    for language, pattern in {
        **dict.fromkeys(("c", "cpp", "java", "javascript", "tsx", "typescript", "go", "scala", "zig"), _C),
        **dict.fromkeys(("csharp", "kotlin", "rust", "swift"), f"{_C}|{_ATTRIBUTE}"),
        "php": f"{_C}|{_HASH}|#\\[[^\\n]*\\]",
        **dict.fromkeys(("bash", "ruby", "python"), _HASH),
        "lua": r"--\[(=*)\[.*?\]\1\]|--[^\n]*",
        "haskell": r"\{-.*?-\}|--[^\n]*",
        "elixir": r'@\w+\s+(?:~[sS])?""".*?"""|#[^\n]*|'
        r"@(?:spec|since|impl|doc|deprecated)\b[^\n]*(?:\n[ \t]+[^@\n]*)*?(?=\n\s*(?:@|def))",
    }.items()
}
_DETACHED = re.compile(rf"^[ \t]*(?:{_ATTRIBUTE})", re.MULTILINE)
_DOCSTRING = re.compile(
    r"(\A(?:[^\n]*\n){0,30}?[^\n]*:[ \t]*(?:#[^\n]*)?\n)\s*[rRuU]?(\"\"\"|''')(.*?)\2[ \t]*\n?", re.DOTALL
)
_HEREDOC = re.compile(r'@(?:module|type)?doc\s+(?:~[sS])?"""(.*?)"""|@doc\s+"([^"\n]+)"', re.DOTALL)
# The stars and dashes that draw a comment.
_DRAWN = re.compile(
    r"^[ \t]*(?:/\*+[!*<]*|\*+/?|//+[!/<]*|#+[!:']*|--+\s*[|^]?|--\[=*\[|\{-+\s*\|?|;+)[ \t]?|\*+/[ \t]*$|-\}$|\]=*\]$",
    re.M,
)
_TAGS = re.compile(
    r"^\s*(?:[@\\](?!brief|short|summary|desc|code|link|c\b|p\b|ref)\w+|:\w+[^:\n]*:|-{3,}|={3,}|\w+:\s*$|</?(?:param|returns|remarks|example|exception|value)\b|```|>>>|Examples?\b|Arguments?:|Args:|Parameters?\b|Returns?:|Usage:)",
    re.M,
)
_MARKUP = re.compile(
    r"</?[a-zA-Z][^<>\n]{0,80}>|[@\\](?:brief|short|summary|desc|code|c|p|ref|link)\b|\{@?\w*\s?|\}|[`*|]+|:\w+:(?=`)|\[\[?|\]\]?(?:\([^)\s]*\))?"
)
_SENTENCE = re.compile(r"(?<=[a-z)\]0-9\"'])[.!?](?=\s+[A-Z`@(<]|\s*$)")
# What lawyers and linters say, and code that was commented out.
_NOISE = re.compile(
    r";|[=!]=|&&|\|\||\breturn\b\W.*\(|copyright|licen[sc]e|all rights reserved|\bTO"
    r"DO|\bFIX"
    r"ME|\bX"
    r"XX\b|noqa|eslint|inherit-?doc|nolint|pragma|"
    r"https?://|auto-?generated|do not edit|pylint|rubocop|shellcheck|SPDX|phpcs|@ts-|type: ignore|clang-format",
    re.IGNORECASE,
)
MAX_CHARS = 300
_MIN_WORDS, _MAX_WORDS = 3, 45


def parted(text: str, language: str) -> tuple[str, str]:
    """Return the doc comment of a definition, drawn marks removed ("" if none), and its code without it."""
    pattern = _LEADING.get(language)
    if pattern is None:
        return "", text
    found = pattern.match(text)
    lead, code = (text[: found.end()], text[found.end() :]) if found else ("", text)
    if language == "python":
        inside = _DOCSTRING.match(code)
        return (inside[3], inside[1] + code[inside.end() :]) if inside else (undrawn(lead), code)
    if language == "elixir":
        inside = _HEREDOC.search(lead)
        return (inside[1] or inside[2] or "", code) if inside else (undrawn(lead), code)
    return undrawn(_DETACHED.sub("", lead)), code


def undrawn(comment: str) -> str:
    """Return a comment without the marks that make it one; of several apart, the last."""
    apart = re.split(r"\n[ \t]*\n", comment.strip())
    return _DRAWN.sub("", apart[-1]).strip()


def summary(doc: str) -> str:
    """Return the first paragraph of a doc comment as plain words, at most 300 characters, or "" if it says nothing."""
    doc = doc.strip()
    tag = _TAGS.search(doc)
    paragraph = re.split(r"\n\s*\n", doc[: tag.start()] if tag else doc)[0]
    plain = " ".join(_MARKUP.sub(" ", paragraph).split()).strip(" -:;,.#=")
    if _NOISE.search(plain):
        return ""
    words = plain.split()
    letters = sum(c.isascii() and (c.isalpha() or c == " ") for c in plain)
    if len(words) < _MIN_WORDS or letters < 0.75 * len(plain):
        return ""
    return " ".join(words[:_MAX_WORDS])[:MAX_CHARS]


def first_sentence(text: str) -> str:
    """Return the first sentence of a summary, or all of it if that is too short to say anything."""
    end = _SENTENCE.search(text)
    sentence = text[: end.start()] if end else text
    return sentence if len(sentence.split()) >= _MIN_WORDS else text
