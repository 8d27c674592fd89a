"""Which language a file is written in, from its name and its first bytes."""

import re

import re2

from services.core.payload import extension

_BY_EXTENSION = {
    "bash": "sh bash zsh ksh bats ebuild eclass",
    "bazel": "bzl bazel star",
    "c": "c h",
    "clojure": "clj cljs cljc edn",
    "cmake": "cmake",
    "cpp": "cc cpp cxx c++ hh hpp hxx h++ ipp tpp inl ino cu cuh",
    "csharp": "cs csx",
    "css": "css",
    "csv": "csv tsv",
    "d": "d",
    "dart": "dart",
    "diff": "diff patch",
    "dockerfile": "dockerfile containerfile",
    "elixir": "ex exs",
    "elm": "elm",
    "erlang": "erl hrl",
    "fortran": "f f90 f95 f03 f08 for",
    "fsharp": "fs fsi fsx",
    "go": "go",
    "graphql": "graphql gql",
    "groovy": "groovy gradle",
    "haskell": "hs lhs hsc",
    "hcl": "tf tfvars hcl",
    "html": "html htm xhtml",
    "ini": "ini cfg conf properties editorconfig desktop service",
    "java": "java",
    "javascript": "js mjs cjs jsx es6",
    "json": "json jsonc json5 jsonl ndjson geojson webmanifest ipynb avsc",
    "julia": "jl",
    "kotlin": "kt kts",
    "latex": "tex sty cls",
    "less": "less",
    "lua": "lua",
    "makefile": "mk mak make",
    "markdown": "md markdown mdx mkd",
    "nix": "nix",
    "objc": "m mm",
    "ocaml": "ml mli",
    "pascal": "pas pp",
    "perl": "pl pm t",
    "php": "php php3 php4 php5 phtml",
    "powershell": "ps1 psm1 psd1",
    "proto": "proto",
    "python": "py pyi pyw pyx pxd",
    "r": "r rmd",
    "rst": "rst rest",
    "ruby": "rb rake gemspec ru podspec",
    "rust": "rs",
    "scala": "scala sc sbt",
    "scss": "scss sass",
    "sql": "sql ddl psql",
    "svelte": "svelte",
    "swift": "swift",
    "text": "txt text log",
    "thrift": "thrift",
    "toml": "toml",
    "tsx": "tsx",
    "typescript": "ts mts cts",
    "vim": "vim",
    "vue": "vue",
    "xml": "xml xsd xsl xslt svg wsdl plist pom csproj vcxproj props targets resx xaml storyboard xib",
    "yaml": "yaml yml",
    "zig": "zig zon",
}
_BY_NAME = {
    "bash": ".bashrc .bash_profile .profile .zshrc .zprofile pkgbuild apkbuild",
    "bazel": "build workspace",
    "cmake": "cmakelists.txt",
    "dockerfile": "dockerfile containerfile",
    "groovy": "jenkinsfile",
    "ini": ".gitconfig .editorconfig .flake8 .pylintrc .npmrc",
    "json": ".babelrc .eslintrc .prettierrc composer.lock flake.lock",
    "makefile": "makefile gnumakefile kbuild",
    "python": "sconstruct sconscript wscript",
    "ruby": "rakefile gemfile vagrantfile podfile guardfile brewfile capfile fastfile",
    "text": "readme license copying authors changelog news todo",
    "toml": "pipfile cargo.lock poetry.lock uv.lock",
    "vim": ".vimrc",
    "yaml": ".clang-format .clang-tidy .yamllint",
}
_BY_INTERPRETER = {
    "bash": "sh bash dash ash zsh ksh bats",
    "elixir": "elixir iex",
    "haskell": "runhaskell runghc stack",
    "javascript": "node nodejs bun",
    "julia": "julia",
    "kotlin": "kotlin",
    "lua": "lua luajit",
    "makefile": "make",
    "perl": "perl",
    "php": "php",
    "python": "python pypy uv",
    "r": "rscript",
    "ruby": "ruby jruby",
    "scala": "scala",
    "swift": "swift",
    "typescript": "deno ts-node tsx",
}


def _inverted(table: dict[str, str]) -> dict[str, str]:
    return {word: language for language, words in table.items() for word in words.split()}


_EXTENSIONS = _inverted(_BY_EXTENSION)
_NAMES = _inverted(_BY_NAME)
_INTERPRETERS = _inverted(_BY_INTERPRETER)

# Longer first lines are no shebang that a kernel accepts (BINPRM_BUF_SIZE).
_MAX_SHEBANG_BYTES = 256
_SHEBANG = re.compile(rb"#![ \t]*(?:\S*/)?(?:env[ \t]+(?:-\S+[ \t]+|\w+=\S+[ \t]+)*)?(?:\S*/)?([A-Za-z][A-Za-z_-]*)")
# RE2 because `re` would take as long over a header as parsing it.
_CPP_ONLY = re2.compile(
    rb"(?m)^[ \t]*(?:(?:inline\s+)?namespace(?:\s+[\w:]+)?\s*\{|template\s*<"
    rb"|class\s+(?:\w+\s+)?\w+(?:\s+final)?\s*[:{]|using\s+(?:namespace\b|\w+\s*=|\w+::)"
    rb"|(?:public|private|protected)\s*:|#[ \t]*include[ \t]*<[a-z_]+>)"
    rb"|\b(?:constexpr|noexcept|nullptr)\b|\bstd::\w"
)


def language_of(path: str, head: bytes) -> str:
    """Return the lower-case name of a file's language, "text" if unknown.

    `head`: the first few KiB of the file, for what the name leaves open (scripts, ``.h``).
    """
    name = path.rpartition("/")[2].lower()
    known = _NAMES.get(name) or _EXTENSIONS.get(extension(name)) or _NAMES.get(name.partition(".")[0])
    if known == "c" and name.endswith(".h") and _CPP_ONLY.search(head):
        return "cpp"
    return known or _from_shebang(head) or "text"


def _from_shebang(head: bytes) -> str:
    if not head.startswith(b"#!"):
        return ""
    found = _SHEBANG.match(head[:_MAX_SHEBANG_BYTES])
    return _INTERPRETERS.get(found[1].decode().lower(), "") if found else ""
