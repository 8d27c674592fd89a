import pytest

from services.chunker.grammars import GRAMMARS, rules_for
from services.chunker.lines import MAX_BYTES
from services.chunker.sections import SECTIONS
from services.chunker.split import split
from services.chunker.split_tree import outline
from services.chunker.symbols import Symbols
from tests.unit.split_samples import SAMPLES


def test_every_grammar_has_a_sample():
    assert set(SAMPLES) == set(GRAMMARS)


@pytest.mark.parametrize("language", SAMPLES)
def test_definitions_of_each_language_are_found(language):
    chunks = split(SAMPLES[language].text.encode(), language).chunks

    defines = [name for chunk in chunks for name in chunk.defines]

    assert defines == list(dict.fromkeys(SAMPLES[language].defines.split()))


@pytest.mark.parametrize("language", [language for language in SAMPLES if SAMPLES[language].symbol])
def test_symbol_of_a_place_is_its_innermost_definition(language):
    sample = SAMPLES[language]
    text, rules = sample.text.encode(), rules_for(language)
    inside = text.index(sample.inside.encode())

    _, definitions = outline(rules.parser.parse(text).root_node, text, rules)

    assert Symbols(definitions).symbol(text, inside, inside + len(sample.inside.encode())) == sample.symbol


@pytest.mark.parametrize("language", [language for language in SAMPLES if SAMPLES[language].defines])
def test_a_definition_that_fits_is_never_divided(language):
    text = (SAMPLES[language].text + "\n").encode() * 8
    rules = rules_for(language)
    _, definitions = outline(rules.parser.parse(text).root_node, text, rules)

    ends = {chunk.end_byte for chunk in split(text, language).chunks}

    divided = [
        made.qualified
        for made in definitions
        if made.end - made.start <= MAX_BYTES and any(made.start < end < made.end for end in ends)
    ]
    assert divided == []
    assert len(ends) > 1 or len(text) <= MAX_BYTES + 200


@pytest.mark.parametrize(
    ("language", "text", "symbol", "defines"),
    [
        ("clojure", "(defn ^:private add [a]\n  1)\n", "add", ("add",)),
        ("cmake", "function(build_all a)\nendfunction()\n", "build_all", ("build_all",)),
        ("dart", "abstract class Cart {\n}\n", "Cart", ("Cart",)),
        ("dockerfile", "FROM a AS build\nRUN x\n", "build", ("build",)),
        ("elm", "type alias Id = Int\nadd : Int\n", "Id", ("Id", "add")),
        ("erlang", "-record(cart, {a}).\nadd(X) -> X.\n", "cart", ("cart", "add")),
        ("fortran", "  PURE FUNCTION area(x)\n", "area", ("area",)),
        ("fsharp", "let rec add x =\n  x\n", "add", ("add",)),
        ("graphql", "type User {\n  id: ID\n}\n", "User", ("User",)),
        ("groovy", "class Cart {\n  def add() {}\n}\n", "Cart", ("Cart", "add")),
        ("hcl", 'resource "aws_x" "y" {\n  a = 1\n}\n', "aws_x.y", ("y",)),
        ("ini", "[core]\nx = 1\n", "core", ()),
        ("julia", "function add!(x)\nend\n", "add!", ("add!",)),
        ("latex", "\\section{Way}\nx\n", "Way", ()),
        ("makefile", "build: a\n\tcc a\n", "build", ("build",)),
        ("objc", "- (int)add:(int)x {\n  return x;\n}\n", "add", ("add",)),
        ("ocaml", "let rec add x = 1\n", "add", ("add",)),
        ("pascal", "function TCart.Add(x: Integer): Integer;\n", "TCart.Add", ("Add",)),
        ("perl", "sub add {\n  1\n}\n", "add", ("add",)),
        ("powershell", "function Get-Cart {\n}\n", "Get-Cart", ("Get-Cart",)),
        ("proto", "message Cart {\n  int32 a = 1;\n}\n", "Cart", ("Cart",)),
        ("r", "add <- function(x) {\n  x\n}\n", "add", ("add",)),
        ("rst", "Title\n=====\n\ntext\n", "Title", ()),
        ("thrift", "struct Cart {\n}\n", "Cart", ("Cart",)),
        ("toml", "[[tool.x]]\na = 1\n", "tool.x", ()),
        ("vim", "fun! s:Add()\nendfun\n", "s.Add", ("Add",)),
        ("yaml", "---\na: 1\n", "", ()),
    ],
)
def test_sections_of_each_line_language_are_found(language, text, symbol, defines):
    (chunk,) = split(text.encode(), language).chunks

    assert (chunk.symbol, chunk.defines) == (symbol, defines)


def test_every_line_language_has_a_test():
    tested = {row[0] for row in test_sections_of_each_line_language_are_found.pytestmark[0].args[1]}

    assert tested | {"markdown"} == SECTIONS
