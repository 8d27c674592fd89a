"""What the generated files are made of: words, and one header and several members per language.

The words are those of ordinary business and systems code, so that identifiers
collide and repeat about as they do in real repositories.
"""

from dataclasses import dataclass
from string import Template


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


VERBS = _words(
    "accept add apply assign attach build cache cancel check claim close collect compute connect copy create decode "
    "delete describe detach drain drop encode evict expire fetch filter find flush format freeze group hash "
    "index insert inspect join limit list load lock map mark measure merge move normalize notify open parse "
    "patch plan poll prepare publish pull purge push read rebuild record reduce refresh register reject release "
    "remove rename render replace report reserve reset resolve restore retry revoke rotate route save scan schedule "
    "seal search select send serialize shrink sign sort split start stop store stream submit sync trace track trim "
    "unlock update upload validate verify watch wrap write"
)

NOUNS = _words(
    "account address agent alert archive asset audit backup badge balance barrier batch billing binding blob bucket "
    "budget buffer bundle calendar campaign carrier cart catalog channel checkout chunk claim client cluster column "
    "command commit config contact container contract cookie coupon currency cursor customer dataset deadline delivery "
    "deployment device digest discount document domain draft endpoint entity envelope event feature feed field "
    "file folder forecast frame gateway grant group guest header heartbeat host image index ingress inventory "
    "invoice issue item job journal key label lease ledger lesson limit link listing locale location lock manifest "
    "member message metric migration mirror module node note notification offer order owner page partition "
    "password payment payload peer permission pipeline plan player policy pool portfolio position price printer probe "
    "process product profile project proposal provider proxy query queue quota receipt record region release replica "
    "report request reservation resource response review reward role route row rule sample schedule schema score "
    "segment sensor server session setting shard shipment signal site slot snapshot socket source station status step "
    "stock stream subscription supplier survey table task tax team template tenant thread ticket timer token "
    "topic trace transfer tree trigger tunnel upload user vault vendor version video volume voucher wallet warehouse "
    "webhook widget window worker workflow workspace zone"
)

ADJECTIVES = _words(
    "active archived atomic cached cold compact current daily deferred dirty distinct draft empty expired external "
    "failed fresh global hidden idle incoming inner internal large latest lazy legacy local locked missing mutable "
    "nested open outer partial pending primary private public random raw recent regional remote secondary shared "
    "signed slow sorted stale static stored temporary trusted unique unread urgent valid verified weekly"
)

AREAS = _words("access analytics billing catalog content core delivery gateway identity media messaging platform")


@dataclass(frozen=True, slots=True)
class Language:
    """How files of one language look.

    Placeholders: ``$f`` and ``$g`` functions, ``$T`` and ``$U`` types, ``$a`` ``$b`` ``$c`` variables in the
    language's own case, ``$doc`` a phrase, ``$w`` a word, ``$n`` and ``$m`` numbers.
    """

    name: str
    extension: str
    camel: bool
    header: Template
    members: tuple[Template, ...]
    footer: str = ""


PYTHON = Language(
    "python",
    "py",
    False,
    Template(
        '"""Parts of $w: $doc."""\n\nimport logging\n'
        "from dataclasses import dataclass\n\nlog = logging.getLogger(__name__)\n"
    ),
    (
        Template(
            '\n\ndef $f($a, $b=$n):\n    """$doc."""\n    $c = []\n    for item in $a:\n        if item.$b > $b:\n'
            '            $c.append($g(item, limit=$m))\n    log.info("$w", extra={"count": len($c)})\n    return $c\n'
        ),
        Template(
            '\n\n@dataclass(frozen=True)\nclass $T:\n    """$doc."""\n\n    $a: str\n    $b: int = $n\n\n'
            '    def $f(self, $c):\n        if $c not in self.$a:\n            raise KeyError(f"no $w {$c!r}")\n'
            "        return self.$b * $m\n"
        ),
        Template(
            "\n\ndef $f($a: dict[str, int]) -> int:\n    # $doc.\n    $b = sum($a.values()) // $n\n    while $b > $m:\n"
            '        $b -= $g($a.get("$w", 0))\n    return $b\n'
        ),
    ),
)

GO = Language(
    "go",
    "go",
    True,
    Template('package $w\n\nimport (\n\t"context"\n\t"errors"\n\t"fmt"\n)\n'),
    (
        Template(
            "\n// $T holds what is known of a $w: $doc.\ntype $T struct {\n"
            "\t$U string\n\t$a   int\n\t$b   []byte\n}\n\n"
            "func ($c *$T) $f(ctx context.Context, $b int) error {\n\tif $b > $n {\n"
            '\t\treturn errors.New("$w: too many")\n\t}\n\t$c.$a += $b\n\treturn ctx.Err()\n}\n'
        ),
        Template(
            "\n// $f: $doc.\nfunc $f($a []string, $b int) (map[string]int, error) {\n\t$c := make(map[string]int, $n)\n"
            '\tfor i, v := range $a {\n\t\tif i >= $b {\n\t\t\treturn nil, fmt.Errorf("$w %q at %d", v, i)\n\t\t}\n'
            "\t\t$c[v] += $m\n\t}\n\treturn $c, nil\n}\n"
        ),
    ),
)

TYPESCRIPT = Language(
    "typescript",
    "ts",
    True,
    Template('import { $U } from "./$w";\n\nexport const $a = $n;\n'),
    (
        Template(
            "\n/** $doc. */\nexport interface $T {\n  $a: string;\n  $b?: number;\n  readonly $c: $U[];\n}\n"
            "\nexport function $f(input: $T, limit = $n): number {\n"
            "  return input.$c.filter((entry) => entry !== undefined).length * ${m} + limit;\n}\n"
        ),
        Template(
            "\n// $doc\nexport async function $f($a: string, $b: number): Promise<$T | null> {\n"
            "  const $c = await fetch(`/api/$w/$${$a}?limit=$${$b}`);\n  if (!$c.ok) {\n"
            "    throw new Error(`$w failed with $${$c.status}`);\n  }\n  return (await $c.json()) as $T;\n}\n"
        ),
    ),
)

JAVA = Language(
    "java",
    "java",
    True,
    Template(
        "package com.example.$w;\n\nimport java.util.HashMap;\nimport java.util.Map;\n"
        "\n/** $doc. */\npublic final class $T {\n"
    ),
    (
        Template(
            "\n    private final Map<String, Integer> $a = new HashMap<>();\n\n    /** $doc. */\n"
            "    public int $f(String $b, int $c) {\n        if ($c > $n) {\n"
            '            throw new IllegalArgumentException("$w: " + $b);\n        }\n'
            "        return $a.merge($b, $c, Integer::sum) * $m;\n    }\n"
        ),
        Template(
            "\n    // $doc.\n    static boolean $f(Iterable<String> $a, String $b) {\n        int $c = $n;\n"
            "        for (String each : $a) {\n            if (each.startsWith($b) && $c++ > $m) {\n"
            "                return true;\n            }\n        }\n        return false;\n    }\n"
        ),
    ),
    "}\n",
)

RUST = Language(
    "rust",
    "rs",
    False,
    Template("//! $doc.\n\nuse std::collections::HashMap;\n\nconst LIMIT: usize = $n;\n"),
    (
        Template(
            "\n/// $doc.\n#[derive(Debug, Clone)]\npub struct $T {\n    pub $a: String,\n    $b: usize,\n}\n"
            "\nimpl $T {\n"
            "    pub fn $f(&mut self, $c: usize) -> Result<usize, String> {\n        if $c > LIMIT {\n"
            '            return Err(format!("$w: {} is over {}", $c, $n));\n        }\n'
            "        self.$b += $c;\n        Ok(self.$b * $m)\n    }\n}\n"
        ),
        Template(
            "\n/// $doc.\npub fn $f($a: &[&str], $b: usize) -> HashMap<String, usize> {\n"
            "    let mut $c = HashMap::with_capacity($n);\n    for item in $a.iter().take($b) {\n"
            "        *$c.entry(item.to_string()).or_insert(0) += $m;\n    }\n    $c\n}\n"
        ),
    ),
)

LANGUAGES = (PYTHON, GO, TYPESCRIPT, JAVA, RUST)
