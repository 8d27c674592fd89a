import pytest

from services.chunker.languages import language_of


@pytest.mark.parametrize(
    ("path", "head", "language"),
    [
        ("a/b.py", b"", "python"),
        ("a/B.PY", b"", "python"),
        ("x.pyi", b"", "python"),
        ("x.ts", b"", "typescript"),
        ("x.d.ts", b"", "typescript"),
        ("x.tsx", b"", "tsx"),
        ("x.jsx", b"", "javascript"),
        ("x.cs", b"", "csharp"),
        ("x.hpp", b"", "cpp"),
        ("x.kt", b"", "kotlin"),
        ("x.zig", b"", "zig"),
        ("x.yml", b"", "yaml"),
        ("Makefile", b"", "makefile"),
        ("Makefile.am", b"", "makefile"),
        ("docker/Dockerfile", b"", "dockerfile"),
        ("Dockerfile.dev", b"", "dockerfile"),
        ("CMakeLists.txt", b"", "cmake"),
        ("Gemfile", b"", "ruby"),
        ("README", b"", "text"),
        ("LICENSE", b"", "text"),
        (".bashrc", b"", "bash"),
        ("no-extension", b"", "text"),
        ("x.unheard-of", b"\x00\xff", "text"),
        ("", b"", "text"),
    ],
)
def test_language_is_told_by_the_name(path, head, language):
    assert language_of(path, head) == language


@pytest.mark.parametrize(
    ("first_line", "language"),
    [
        (b"#!/bin/sh", "bash"),
        (b"#!/usr/bin/env python3", "python"),
        (b"#!/usr/bin/python3.11 -I", "python"),
        (b"#! /usr/bin/env -S node --harmony", "javascript"),
        (b"#!/usr/bin/env FOO=bar ruby", "ruby"),
        (b"#!/usr/bin/perl -w", "perl"),
        (b"#!/opt/unheard-of", "text"),
        (b"#!", "text"),
        (b"#!" + b"/" * 10_000, "text"),
        (b"echo #!/bin/sh", "text"),
    ],
)
def test_language_of_a_script_is_told_by_its_first_line(first_line, language):
    assert language_of("bin/tool", first_line + b"\nbody\n") == language


def test_extension_outranks_the_first_line():
    assert language_of("tool.py", b"#!/bin/sh\n") == "python"


@pytest.mark.parametrize(
    ("head", "language"),
    [
        (b"", "c"),
        (b"#include <stdio.h>\nstruct s { int a; };\n", "c"),
        (b"/*\n * class of devices: a template\n * using the virtual address\n */\nint f(void);\n", "c"),
        (b"namespace a {\n", "cpp"),
        (b"  class Foo : public Bar {\n", "cpp"),
        (b"template <typename T>\n", "cpp"),
        (b"#include <vector>\n", "cpp"),
        (b"using Id = int;\n", "cpp"),
        (b"int* p = nullptr;\n", "cpp"),
    ],
)
def test_header_is_c_unless_it_looks_like_cpp(head, language):
    assert language_of("a.h", head) == language
