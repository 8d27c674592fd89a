import pytest

from services.chunker.symbols import Definition, Symbols, dotted_name


@pytest.mark.parametrize(
    ("raw", "dotted", "last"),
    [
        ("add", "add", "add"),
        ("größe", "größe", "größe"),
        ("Cart::add", "Cart.add", "add"),
        ("Cart<T, U*>::add", "Cart.add", "add"),
        ("Acme\\Shop", "Acme.Shop", "Shop"),
        ("M:add", "M.add", "add"),
        ("Foo::~Foo", "Foo.~Foo", "~Foo"),
        ("empty?", "empty?", "empty?"),
        ("Get-Cart", "Get-Cart", "Get-Cart"),
        ('"quoted"', "quoted", "quoted"),
        ("<+>", "<+>", "<+>"),
        ("<.>", "<.>", "<.>"),
        ("operator==", "operator==", "operator=="),
        ("operator<=>", "operator<=>", "operator<=>"),
        ("%.o", "%.o", "%.o"),
        ("two\n  words", "two words", "two words"),
        ("", "", ""),
    ],
)
def test_names_of_any_language_become_dotted(raw, dotted, last):
    assert dotted_name(raw) == (dotted, last)


TEXT = b"import a\n\nclass C:\n    def f(self):\n        pass\n\n    def g(self):\n        pass\n"
CLASS = Definition(10, len(TEXT), 16, "C", "C")
F = Definition(19, 52, 27, "f", "C.f")
G = Definition(53, len(TEXT), 62, "g", "C.g")


@pytest.mark.parametrize(
    ("start", "end", "symbol"),
    [
        (0, 10, ""),  # before every definition
        (0, 30, "C"),  # none holds it: the first that begins in it
        (10, len(TEXT), "C"),
        (19, 54, "C.f"),  # blank lines around do not count
        (40, 54, "C.f"),  # the middle of a definition
        (19, len(TEXT), "C"),  # two methods: what holds both
        (53, len(TEXT), "C.g"),
    ],
)
def test_symbol_is_the_innermost_that_holds_the_chunk_or_the_first_in_it(start, end, symbol):
    assert Symbols([G, CLASS, F]).symbol(TEXT, start, end) == symbol


def test_what_closes_the_outer_definition_does_not_count():
    text = b"class C {\n  void f() {\n  }\n}\n"
    symbols = Symbols([Definition(0, 28, 6, "C", "C"), Definition(10, 26, 17, "f", "C.f")])

    assert symbols.symbol(text, 10, len(text)) == "C.f"


def test_names_belong_to_the_chunk_their_token_stands_in():
    symbols = Symbols([G, CLASS, F])

    assert [symbols.defines(end) for end in (10, 19, len(TEXT))] == [(), ("C",), ("f", "g")]


def test_a_name_defined_twice_in_a_chunk_is_listed_once():
    twice = [Definition(0, 5, 1, "f", "f"), Definition(5, 9, 6, "f", "f")]

    assert Symbols(twice).defines(9) == ("f",)


def test_a_namespace_qualifies_without_being_defined():
    symbols = Symbols([Definition(0, 9, 0, "", "ns")])

    assert symbols.symbol(b"ns { f } ", 0, 9) == "ns"
    assert symbols.defines(9) == ()
