"""Names of programming languages as people write them, and which lexer colours each."""

import difflib

from services.core.errors import InvalidRequest

# Language as the index names it → Pygments lexer alias.
LEXERS = {
    "bash": "bash",
    "bazel": "bazel",
    "c": "c",
    "clojure": "clojure",
    "cmake": "cmake",
    "cpp": "cpp",
    "csharp": "csharp",
    "css": "css",
    "csv": "text",
    "d": "d",
    "dart": "dart",
    "diff": "diff",
    "dockerfile": "docker",
    "elixir": "elixir",
    "elm": "elm",
    "erlang": "erlang",
    "fortran": "fortran",
    "fsharp": "fsharp",
    "go": "go",
    "graphql": "graphql",
    "groovy": "groovy",
    "haskell": "haskell",
    "hcl": "hcl",
    "html": "html",
    "ini": "ini",
    "java": "java",
    "javascript": "javascript",
    "json": "json",
    "julia": "julia",
    "kotlin": "kotlin",
    "latex": "latex",
    "less": "less",
    "lua": "lua",
    "makefile": "make",
    "markdown": "markdown",
    "nix": "nix",
    "objc": "objective-c",
    "ocaml": "ocaml",
    "pascal": "pascal",
    "perl": "perl",
    "php": "html+php",
    "powershell": "powershell",
    "proto": "protobuf",
    "python": "python",
    "r": "r",
    "rst": "rst",
    "ruby": "ruby",
    "rust": "rust",
    "scala": "scala",
    "scss": "scss",
    "sql": "sql",
    "svelte": "html",
    "swift": "swift",
    "text": "text",
    "thrift": "thrift",
    "toml": "toml",
    "tsx": "tsx",
    "typescript": "typescript",
    "vim": "vim",
    "vue": "vue",
    "xml": "xml",
    "yaml": "yaml",
    "zig": "zig",
}

_ALIASES = {
    "c#": "csharp",
    "c++": "cpp",
    "cc": "cpp",
    "clj": "clojure",
    "cs": "csharp",
    "cxx": "cpp",
    "docker": "dockerfile",
    "erl": "erlang",
    "ex": "elixir",
    "exs": "elixir",
    "f#": "fsharp",
    "golang": "go",
    "gql": "graphql",
    "hs": "haskell",
    "js": "javascript",
    "jsx": "javascript",
    "kt": "kotlin",
    "make": "makefile",
    "md": "markdown",
    "ml": "ocaml",
    "node": "javascript",
    "objective-c": "objc",
    "objectivec": "objc",
    "pl": "perl",
    "plaintext": "text",
    "protobuf": "proto",
    "ps1": "powershell",
    "py": "python",
    "rb": "ruby",
    "rs": "rust",
    "sass": "scss",
    "sh": "bash",
    "shell": "bash",
    "starlark": "bazel",
    "terraform": "hcl",
    "tex": "latex",
    "tf": "hcl",
    "ts": "typescript",
    "txt": "text",
    "vimscript": "vim",
    "yml": "yaml",
    "zsh": "bash",
}


def canonical_language(name: str) -> str:
    """Return the index's name of a language: lower case, common short forms resolved.

    Raises:
        InvalidRequest: no such language is known; a filter that silently finds nothing helps nobody.
    """
    lowered = name.strip().lower()
    found = _ALIASES.get(lowered, lowered)
    if found in LEXERS:
        return found
    close = difflib.get_close_matches(lowered[:40], [*LEXERS, *_ALIASES], n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise InvalidRequest(f"language {name[:40]!r} is unknown{hint}")
