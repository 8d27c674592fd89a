"""What the nodes of each grammar mean to the chunker, and the parser for each, made when first needed.

A grammar is data: names of node kinds by their part. `Rules` is the same by kind id.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

from tree_sitter import Language, Parser
from tree_sitter_language_pack import get_language

# Parts a node kind can play; flags, because some kinds play several.
SKIP = 1  # a token: no cut in front of it
GLUE = 2  # a comment or attribute: belongs to what follows
BODY = 4  # the inside of its parent: no cut in front of it, its children count as the parent's
OPEN = 8  # always looked into, however small
CLEAR = 16  # adds no level of nesting
NAMED = 32  # has a name that qualifies what is inside
DEFINES = 64  # that name is a definition
CLOSES = 128  # what is inside is no longer at the top
OUTSIDE = 256  # defines only at the top
CHECKED = 512  # defines only if a field is present and of a wanted kind
PEEK = 1024  # looked into at the top, however small
CALL = 2048  # defines if the called word is one of `Grammar.words`

ERROR_KIND = 65535

_BODY = re.compile(
    r"(^|_)(block|body|suite|statements|statement_list|compound_statement|declaration_list|Block|do_group"
    r"|body_statement|enumerator_list|variant_list)$|^(then|ContainerDecl)$"
)
_TOKEN = re.compile(r"^(string_start|string_end|end_tag|jsx_closing_element|heredoc_end|escape_sequence)$")
_COMMENT = re.compile(r"comment|^haddock$|^pragma$")
_NAME = re.compile(
    r"(?<!scoped_)identifier$|IDENTIFIER|^(name|constant|word|alias|operator|operator_name|variable|constructor|string"
    r"|setter|scope_resolution|dot_index_expression|method_index_expression|generic_type|object_reference"
    r"|namespace_name|qualified_name|nested_namespace_specifier|variable_name|keyframes_name|user_type|type_list"
    r"|destructor_name|scoped_type_identifier|STRINGLITERALSINGLE|custom_operator)$"
)


@dataclass(frozen=True, slots=True)
class Grammar:
    """Node kinds by part, separated by blanks.

    ``kind?field`` counts only with that field, ``kind?field:`` only if its value is one of `values`.
    functions: looked into only when too large for one chunk. types: always looked into.
    modules: like types, and what is inside is still at the top. scopes: qualify without defining.
    variables: define at the top only. wrappers: invisible. peeks: looked into at the top.
    names: fields that lead to the name. through: kinds without fields that hide it. words: calls that define.
    owner: the field of a method's receiver. prototype: the kind that makes a declaration no variable.
    has_tails: nodes may end with the comments that belong to the next one, as indentation ends them.
    """

    functions: str = ""
    types: str = ""
    modules: str = ""
    scopes: str = ""
    variables: str = ""
    wrappers: str = ""
    peeks: str = ""
    glue: str = ""
    values: str = ""
    names: str = "name"
    through: str = ""
    owner: str = ""
    prototype: str = ""
    words: str = ""
    has_tails: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """A grammar by kind id and field id; ``roles.get(kind, 0)`` are the flags of a kind."""

    parser: Parser
    roles: dict[int, int]
    checks: dict[int, tuple[int, frozenset[int]]]
    names: frozenset[int]
    name_fields: tuple[int, ...]
    through: frozenset[int]
    owner_field: int
    prototype: int
    has_tails: bool
    target_field: int
    words: frozenset[bytes] = field(default_factory=frozenset)


_JAVASCRIPT = Grammar(
    functions="function_declaration generator_function_declaration method_definition function_signature "
    "abstract_method_signature interface_declaration type_alias_declaration enum_declaration "
    "assignment_expression?right: public_field_definition?value: field_definition?value: pair?value: "
    "variable_declarator?value:",
    types="class_declaration abstract_class_declaration",
    modules="internal_module module",
    variables="variable_declarator",
    wrappers="export_statement ambient_declaration",
    peeks="expression_statement lexical_declaration variable_declaration",
    glue="decorator",
    values="arrow_function function_expression function generator_function class",
    names="name property left key",
)
_C = Grammar(
    functions="function_definition preproc_def?value preproc_function_def type_definition",
    types="struct_specifier?body union_specifier?body enum_specifier?body",
    variables="declaration",
    wrappers="preproc_if preproc_ifdef preproc_elif preproc_else preproc_elifdef linkage_specification",
    names="declarator name",
    through="function_declarator parenthesized_declarator pointer_declarator",
    prototype="function_declarator",
)
_CPP = Grammar(
    functions=_C.functions + " alias_declaration concept_definition",
    types=_C.types + " class_specifier?body",
    scopes="namespace_definition",
    variables="declaration",
    wrappers=_C.wrappers + " template_declaration",
    names=_C.names,
    through=_C.through + " reference_declarator",
    prototype=_C.prototype,
)

GRAMMARS = {
    "bash": Grammar(functions="function_definition", variables="variable_assignment", peeks="declaration_command"),
    "c": _C,
    "cpp": _CPP,
    "csharp": Grammar(
        functions="method_declaration constructor_declaration destructor_declaration property_declaration "
        "delegate_declaration event_declaration local_function_statement enum_declaration",
        types="class_declaration struct_declaration interface_declaration record_declaration record_struct_declaration",
        scopes="namespace_declaration",
        wrappers="preproc_if preproc_else preproc_elif preproc_region file_scoped_namespace_declaration",
    ),
    "css": Grammar(functions="keyframes_statement"),
    "elixir": Grammar(
        names="target left operand",
        glue="unary_operator",
        words="def defp defmacro defmacrop defguard defguardp defdelegate defmodule defprotocol defimpl",
    ),
    "go": Grammar(
        functions="function_declaration method_declaration type_spec type_alias",
        variables="var_spec const_spec",
        wrappers="type_declaration",
        peeks="const_declaration var_declaration var_spec_list",
        owner="receiver",
    ),
    "haskell": Grammar(
        functions="function data_type newtype type_synomym type_family",
        types="class",
        scopes="instance",
        variables="bind",
        wrappers="declarations class_declarations instance_declarations",
        glue="signature",
        names="name operator",
        through="infix",
        has_tails=True,
    ),
    "html": Grammar(),
    "java": Grammar(
        functions="method_declaration constructor_declaration compact_constructor_declaration "
        "annotation_type_element_declaration",
        types="class_declaration interface_declaration enum_declaration record_declaration annotation_type_declaration",
        wrappers="enum_body_declarations",
    ),
    "javascript": _JAVASCRIPT,
    "kotlin": Grammar(
        functions="function_declaration secondary_constructor type_alias",
        types="class_declaration object_declaration companion_object",
        variables="property_declaration",
        through="variable_declaration",
    ),
    "lua": Grammar(
        functions="function_declaration",
        variables="assignment_statement",
        peeks="variable_declaration",
        through="variable_list",
    ),
    "php": Grammar(
        functions="function_definition method_declaration const_element",
        types="class_declaration interface_declaration trait_declaration enum_declaration",
        scopes="namespace_definition",
        wrappers="const_declaration",
    ),
    "python": Grammar(
        functions="function_definition",
        types="class_definition",
        variables="assignment type_alias_statement",
        wrappers="decorated_definition",
        peeks="if_statement try_statement with_statement else_clause elif_clause except_clause finally_clause",
        glue="decorator",
        names="name left",
        through="type",
    ),
    "ruby": Grammar(
        functions="method singleton_method",
        modules="class module",
        variables="assignment",
        wrappers="singleton_class",
        names="name left",
    ),
    "rust": Grammar(
        functions="function_item function_signature_item const_item static_item type_item macro_definition "
        "struct_item enum_item union_item",
        types="trait_item",
        modules="mod_item",
        scopes="impl_item",
        wrappers="foreign_mod_item",
        glue="attribute_item",
        names="name type",
    ),
    "scala": Grammar(
        functions="function_definition function_declaration given_definition type_definition",
        types="class_definition trait_definition enum_definition",
        modules="object_definition package_object",
        variables="val_definition var_definition",
        wrappers="extension_definition package_clause",
        names="name pattern",
        has_tails=True,
    ),
    "sql": Grammar(
        functions="create_table create_function create_view create_materialized_view create_index create_trigger "
        "create_type create_schema create_sequence create_database create_role",
        wrappers="statement",
    ),
    "swift": Grammar(
        functions="function_declaration protocol_function_declaration typealias_declaration operator_declaration",
        types="class_declaration protocol_declaration",
        variables="property_declaration",
        names="name bound_identifier",
    ),
    "tsx": _JAVASCRIPT,
    "typescript": _JAVASCRIPT,
    "zig": Grammar(
        functions="TestDecl",
        types="Decl",
        wrappers="VarDecl ErrorUnionExpr SuffixExpr",
        names="function variable_type_function",
        through="FnProto VarDecl",
    ),
}

_PARTS = {
    "functions": NAMED | DEFINES | CLOSES,
    "types": NAMED | DEFINES | CLOSES | OPEN,
    "modules": NAMED | DEFINES | OPEN,
    "scopes": NAMED | OPEN,
    "variables": NAMED | DEFINES | OUTSIDE,
    "wrappers": OPEN | CLEAR,
    "peeks": PEEK,
    "glue": GLUE,
}


@cache
def rules_for(language: str) -> Rules:
    """Return the rules of a language in `GRAMMARS`, with a parser of this process's own."""
    grammar = GRAMMARS[language]
    # The pack types its argument as a literal of 170 names.
    parsed = get_language(cast(Any, language))
    kinds = _kinds_by_name(parsed)
    roles = _default_roles(parsed)
    checks: dict[int, tuple[int, frozenset[int]]] = {}
    for kind in _ids(kinds, grammar.values):
        roles[kind] = CLOSES
    for part, flags in _PARTS.items():
        for entry in getattr(grammar, part).split():
            name, _, condition = entry.partition("?")
            wanted, _, _ = condition.partition(":")
            values = _ids(kinds, grammar.values) if ":" in condition else frozenset()
            for kind in kinds.get(name, ()):
                roles[kind] = (roles.get(kind, 0) & ~(BODY | CLEAR)) | flags | (CHECKED if condition else 0)
                if condition:
                    checks[kind] = (_field(parsed, wanted), values)
    if grammar.words:
        roles.update(dict.fromkeys(_ids(kinds, "call"), NAMED | DEFINES | CALL))
    return Rules(
        parser=Parser(parsed),
        roles=roles,
        checks=checks,
        names=frozenset(kind for name, ids in kinds.items() if _NAME.search(name) for kind in ids),
        name_fields=tuple(_field(parsed, name) for name in grammar.names.split()),
        through=_ids(kinds, grammar.through),
        owner_field=_field(parsed, grammar.owner) if grammar.owner else 0,
        prototype=next(iter(_ids(kinds, grammar.prototype)), -1),
        has_tails=grammar.has_tails,
        target_field=_field(parsed, "target") if grammar.words else 0,
        words=frozenset(word.encode() for word in grammar.words.split()),
    )


def _kinds_by_name(language: Language) -> dict[str, list[int]]:
    kinds: dict[str, list[int]] = {}
    for kind in range(language.node_kind_count):
        if language.node_kind_is_named(kind):
            kinds.setdefault(language.node_kind_for_id(kind) or "", []).append(kind)
    return kinds


def _default_roles(language: Language) -> dict[int, int]:
    # What the parser could not understand is looked into: definitions are often intact inside.
    roles = {ERROR_KIND: OPEN | CLEAR}
    for kind in range(language.node_kind_count):
        name = language.node_kind_for_id(kind) or ""
        if not language.node_kind_is_named(kind) or _TOKEN.match(name):
            roles[kind] = SKIP
        elif _COMMENT.search(name):
            roles[kind] = GLUE
        elif _BODY.search(name):
            roles[kind] = BODY | CLEAR
    return roles


def _ids(kinds: dict[str, list[int]], names: str) -> frozenset[int]:
    return frozenset(kind for name in names.split() for kind in kinds.get(name, ()))


def _field(language: Language, name: str) -> int:
    return language.field_id_for_name(name) or 0
