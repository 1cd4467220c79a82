"""Random cases for comparing engines: flags and a user, as lines for `evaluate --lines`.

`wide` draws on everything the evaluation semantics speak of, save the places where we decided
otherwise than the reference: patterns that do not compile, letters of newer Unicode tables,
integers that overflow 64 bits to a multiple of 2^64, broken configs, dependency cycles.
Without it only that is drawn on which all of the vendor's engines agree.
"""

import json
import random
from collections.abc import Iterator
from typing import Any

WORDS = ["a", "A", "ab", "abc", "b", "true", "TRUE", "false", "é", "日本", "user", "Straße", "x y"]
ODD_WORDS = [
    *("", "True", "falſe", "ſ", "(none)", "null", "İstanbul", "istanbul", "ΑΣ", "ας", "STRASSE"),
    *("Å", "😀", "￮", "🀀", "a\rb", "a\nb", "a\u2028b", "a\u0085b", "٣", "\u0000", "\u001f", "ABC"),
    *("[a]", "[a, b]", "[1,2]", "[1, x]", "[1,2,]", "[", "[]", '["a","b"]', '["a", "true"]'),
    *(' ["a"]', '[null, "a"]', '[{"a":1}]', '["a" "b"]', "[01]", "[+1]", "[1f]", "[NaN]"),
    *("[tRuE]", '["a"] x', '[["a"]]', '["\\u0061"]', '{"a":1}', "[1e3]", "[1.0,1]", "[a:b]"),
]
NUMBERS = ["0", "1", "2", "10", "17", "18", "100", "-5"]
ODD_NUMBERS = [
    *("1.0", "01", "+1", "-0", "1e3", "0x10", "0x1p3", "1_0", "1,5", "infinity", "Infinity"),
    *("-Infinity", "NaN", "5f", "5d", ".5", "5.", " 5 ", "5\u00a0", "１", "1.5", "1e21", "-"),
    *("2026-03-01", "0.1", "1E400", "1e-400", "", "9007199254740993"),
]
VERSIONS = ["1.2.3", "1.2.4", "1.10.0", "2.0.0", "0.9.9"]
ODD_VERSIONS = [
    *("1.2", "1", "1.2.3-a", "1.2.3-01", "1.2.3-9", "1.2.3-10", "1.2.3-0", "1.2.3+b", "01.02.03"),
    *("1.2.3-a.b+c", "v1.2.3", "2147483648.0", "2147483647.0", "1.2.2147483648", "1.2.3\n"),
    *("1.2.", "1.2-a", "1.2.3-", "1.2.3-a.", "1.2.3-a_b", "１.２", "1.2.3.4", " 1.2.3", "", "x"),
]
LITERALS = ["0", "1", "-7", "42", "true", "false", "1234567", "1000000"]
ODD_LITERALS = [
    *("-0", "1e3", "1E3", "100e-2", "1.0", "1.5", "-1.5", "0.1", "1e21", "1e-7", "1.0e7", "-0.0"),
    *("9999999.0", "10000000.0", "0.001", "0.0001", "9007199254740993", "9223372036854775807"),
    *("9223372036854775808", "-9223372036854775808", "12345678901234567890", "1.5e300", "1e20"),
    *("4.9e-324", "123e-5", "0.30000000000000004", "1e18", "1e19", "5e-1"),
]
PATTERNS = ["^a.*$", "^[a-c]+$", "^(a|b)*$", "^.+$", "^[A-Z]+$", "^true|false$", "^user$"]
ODD_PATTERNS = [
    *("a", "a.*", "[a-c]", r"\d+", r"\w+", r"\w*", r"\s", "(?i)abc", "(?iu)É", r"\p{L}+", "."),
    *("(?s).*", r"\Qa\E.*", r"(?<n>a)\k<n>?.*", "[a-z&&[^b]]+", "a++b?", "a*+", r"\bab\b", r"\h"),
    *(r"\x{61}b?", r"a\Rb", "[^a]*", "a|", "", r"(a)\1?", "(?=a)ab?c?", "(?!a).+", ".{2}", r"\S+"),
    *(r"[\w&&[^\d]]+", r"\p{Lu}+", r"\p{javaLowerCase}+", r"[é日]+.*", "(?m)^a$", r"\u0061.*"),
    *(r"\D*", r"[[:alpha:]]", r"\p{Alpha}+", "(?x) a b c", r"a{1,2}b?", "(?:a|b|ab)(?:c|)", "😀"),
]
SET_OPS = ["set is", "set is not", "set contains", "set does not contain"]
SET_OPS += ["set contains any", "set does not contain any"]
ORDER_OPS = ["less", "less or equal", "greater", "greater or equal"]
TEXT_OPS = ["is", "is not", "contains", "does not contain"]
FIELDS = ["word", "number", "version", "list", "literal", "thing", "flag", "absent"]


class Cases:
    """An endless supply of cases, the same for the same seed."""

    def __init__(self, seed: int, *, wide: bool) -> None:
        self._dice = random.Random(seed)
        self._wide = wide
        self._words = WORDS + ODD_WORDS if wide else WORDS
        self._numbers = NUMBERS + ODD_NUMBERS if wide else NUMBERS
        self._versions = VERSIONS + ODD_VERSIONS if wide else VERSIONS
        self._literals = LITERALS + ODD_LITERALS if wide else LITERALS

    def lines(self, count: int) -> Iterator[str]:
        """Give cases as JSON lines."""
        for _ in range(count):
            flags = self._flags()
            parts = [f'"flags":{json.dumps(flags)}', f'"user":{self._user()}']
            if self._chance(0.2):
                keys = self._some([flag["key"] for flag in flags] + ["ghost"])
                parts.append(f'"flag_keys":{json.dumps(keys)}')
            yield f"{{{','.join(parts)}}}"

    def _chance(self, likelihood: float) -> bool:
        return self._dice.random() < likelihood

    def _some(self, pool: list[Any], most: int = 4) -> list[Any]:
        return self._dice.sample(pool, self._dice.randint(1, min(most, len(pool))))

    # The user, as text, so that numbers keep their form.

    def _user(self) -> str:
        dice = self._dice
        members = {}
        if self._chance(0.9):
            members["user_id"] = json.dumps(f"user-{dice.randint(0, 10_000)}")
        if self._chance(0.7):
            members["device_id"] = json.dumps(f"device-{dice.randint(0, 10_000)}")
        if self._chance(0.5):
            members["country"] = json.dumps(dice.choice(self._words))
        if self._chance(0.4):
            members["cohort_ids"] = json.dumps(self._some(["c1", "c2", "c3"]))
        if self._chance(0.9):
            members["user_properties"] = self._properties()
        if self._chance(0.5):
            self._add_groups(members)
        if self._wide and self._chance(0.05):
            return "{}"
        return _object(members)

    def _properties(self) -> str:
        given = {
            "word": json.dumps(self._dice.choice(self._words)),
            "number": self._number(),
            "version": json.dumps(self._dice.choice(self._versions)),
            "list": self._list(),
            "literal": self._dice.choice(self._literals),
            "thing": self._thing(2),
            "flag": self._dice.choice(["true", "false", '"true"', '"FALSE"', '"TRUE"']),
        }
        if self._wide:
            given[""] = '"empty name"'
            given["10"] = self._thing(1)
        likelihood = 0.85 if self._wide else 0.95
        return _object({name: text for name, text in given.items() if self._chance(likelihood)})

    def _number(self) -> str:
        if self._chance(0.5):
            return json.dumps(self._dice.choice(self._numbers))
        return self._dice.choice(["3", "18", "64", "-1"])

    def _list(self) -> str:
        pool = [json.dumps(word) for word in self._words]
        if self._wide:
            pool += [*self._literals, "null", "[]", '{"b":1,"a":[2]}']
            if self._chance(0.2):
                return self._dice.choice(["[]", '["true"]'])
            if self._chance(0.2):
                return json.dumps(self._dice.choice(self._words))
        listed = self._some(pool)
        if self._wide and self._chance(0.3):
            listed += listed[:1]
        return f"[{','.join(listed)}]"

    def _thing(self, depth: int) -> str:
        kinds = ["word", "literal"] + (["list", "map", "null"] if self._wide and depth else [])
        kind = self._dice.choice(kinds)
        if kind == "word":
            return json.dumps(self._dice.choice(self._words))
        if kind == "literal":
            return self._dice.choice(self._literals)
        if kind == "null":
            return "null"
        inner = [self._thing(depth - 1) for _ in range(self._dice.randint(0, 3))]
        if kind == "list":
            return f"[{','.join(inner)}]"
        names = self._some(["b", "a", "10", "2", 'q"/', "é"], 3)
        return _object(dict(zip(names, inner, strict=False)))

    def _add_groups(self, members: dict[str, str]) -> None:
        name = self._dice.choice(["acme", "globex", "ü"])
        names = [f"[{json.dumps(name)}]", f'[{json.dumps(name)}, "second"]']
        if self._wide:
            names += ['"acme"', "[7]", '[""]', "[]", '[null, "b"]', "null", "{}"]
        members["groups"] = _object({"org": self._dice.choice(names)})
        if self._chance(0.6):
            tier = _object({"tier": json.dumps(self._dice.choice(["gold", "silver"]))})
            members["group_properties"] = _object({"org": _object({name: tier})})
        if self._wide and self._chance(0.2):
            members["group_properties"] = self._dice.choice(['"x"', "[]", '{"org": {"acme": {}}}'])
        if self._chance(0.5):
            cohorts = json.dumps(self._some(["c1", "c2"]))
            members["group_cohort_ids"] = _object({"org": _object({name: cohorts})})

    # The flags.

    def _flags(self) -> list[dict[str, Any]]:
        count = self._dice.randint(1, 5)
        flags = [self._flag(number) for number in range(count)]
        self._dice.shuffle(flags)
        return flags

    def _flag(self, number: int) -> dict[str, Any]:
        below = [f"f{lower}" for lower in range(number)]
        variants = self._some(["on", "off", "red", "blue"])
        flag: dict[str, Any] = {
            "key": f"f{number}",
            "variants": {name: self._variant(name) for name in variants},
            "segments": [self._segment(variants, below) for _ in range(self._dice.randint(1, 4))],
        }
        if self._wide and self._chance(0.05):
            flag["segments"] = []
        if below and self._chance(0.5):
            flag["dependencies"] = self._some([*below, "ghost"], 3)
        if self._chance(0.6):
            flag["metadata"] = {
                "deployed": self._chance(0.8),
                "flagVersion": self._dice.randint(1, 9),
                "both": "flag",
            }
        return flag

    def _variant(self, name: str) -> dict[str, Any]:
        variant: dict[str, Any] = {"key": name}
        if self._chance(0.8):
            variant["value"] = name
        if self._chance(0.3):
            payloads = ["text", 1, 2.5, {"a": [1, None, {"é": "ü"}]}, [], {}, False]
            variant["payload"] = self._dice.choice(payloads)
        if self._chance(0.2):
            variant["metadata"] = {"default": name == "off", "both": "variant"}
        if self._wide and self._chance(0.1):
            variant["value"] = self._dice.choice([None, 7, True, {"a": 1}, ["x"]])
        return variant

    def _segment(self, variants: list[str], below: list[str]) -> dict[str, Any]:
        names = [*variants, "unknown"]
        segment: dict[str, Any] = {}
        if self._chance(0.75):
            segment["variant"] = self._dice.choice(names)
        if self._chance(0.75):
            segment["conditions"] = [
                [
                    self._condition(below)
                    for _ in range(self._dice.randint(0 if self._wide else 1, 3))
                ]
                for _ in range(self._dice.randint(0, 3))
            ]
        if self._chance(0.5):
            segment["bucket"] = self._bucket(names)
        if self._chance(0.5):
            segment["metadata"] = {"segmentName": f"S{self._dice.randint(1, 3)}", "both": "segment"}
        return segment

    def _bucket(self, names: list[str]) -> dict[str, Any]:
        user = ["context", "user"]
        selectors = [
            [*user, "user_id"],
            [*user, "device_id"],
            ["context", "groups", "org", "group_name"],
            [*user, "user_properties", "literal"],
            [*user, "user_properties", "absent"],
        ]
        if self._wide:
            selectors += [[*user, "user_properties", "thing"], [*user, "user_properties", "list"]]
            selectors += [[], [*user, "user_properties"]]
        return {
            "selector": self._dice.choice(selectors),
            "salt": self._dice.choice(["s", "salt", "ü", ""]),
            "allocations": [self._allocation(names) for _ in range(self._dice.randint(0, 2))],
        }

    def _allocation(self, names: list[str]) -> dict[str, Any]:
        cut = self._dice.randint(0, 42_949_673)
        ranges = [[0, cut], [max(cut - 2, 0), 42_949_673]]
        start = self._dice.choice([0, 0, 20, 50])
        return {
            "range": [start, self._dice.choice([start, 50, 80, 100])],
            "distributions": [
                {"variant": self._dice.choice(names), "range": each} for each in ranges
            ],
        }

    def _condition(self, below: list[str]) -> dict[str, Any]:
        if below and self._chance(0.15):
            return self._about_a_flag(self._dice.choice(below))
        if self._chance(0.15):
            return self._about_a_group()
        if self._chance(0.15):
            op = self._dice.choice(["set contains any", "set does not contain any"])
            path = ["context", "user", "cohort_ids"]
            return _condition(path, op, self._some(["c1", "c2", "c3", "c4"]))
        field = self._dice.choice(FIELDS)
        path = ["context", "user", "user_properties", field]
        if self._wide:
            if self._chance(0.05):
                odd = [[], [""], ["context"], ["other", "x"], [*path, "a"], [*path[:-1], ""]]
                path = self._dice.choice([*odd, [*path, "length"], [*path[:-1], "10", "a"]])
            return _condition(path, *self._any_test())
        return _condition(path, *self._test_of(field))

    def _about_a_flag(self, flag: str) -> dict[str, Any]:
        what = self._dice.choice([["key"], ["value"], ["metadata", "both"]])
        values = ["on", "off", "red", "flag", "segment"]
        if self._wide:
            values.append("(none)")
            if self._chance(0.2):
                what = self._dice.choice([["payload"], ["payload", "a"], ["absent"]])
        op = self._dice.choice(["is", "is not"])
        return _condition(["result", flag, *what], op, self._some(values))

    def _about_a_group(self) -> dict[str, Any]:
        org = ["context", "groups", "org"]
        op = self._dice.choice(["is", "is not", "contains"])
        if self._chance(0.4):
            return _condition([*org, "group_name"], op, self._some(["acme", "ü", "glob"]))
        if self._chance(0.6):
            return _condition(
                [*org, "group_properties", "tier"], op, self._some(["gold", "(none)"])
            )
        path = [*org, "cohort_ids"]
        return _condition(path, "set contains any", self._some(["c1", "c3"]))

    def _any_test(self) -> tuple[str, list[str]]:
        """Any operator with any values."""
        kind = self._dice.choice(["text", "order", "version", "set", "regex", "none"])
        if kind == "regex":
            op = self._dice.choice(["regex match", "regex does not match"])
            return op, self._some(PATTERNS + ODD_PATTERNS, 2)
        if kind == "none":
            every = [*TEXT_OPS, *ORDER_OPS, *SET_OPS, "version less", "unknown", "IS"]
            return self._dice.choice(every), self._dice.choice([[], ["(none)"], ["(none)", "a"]])
        pools = {
            "text": (TEXT_OPS, self._words + ODD_LITERALS + NUMBERS),
            "order": (ORDER_OPS, self._numbers + WORDS + ODD_LITERALS),
            "version": ([f"version {op}" for op in ORDER_OPS], self._versions),
            "set": (SET_OPS, self._words + NUMBERS + ODD_LITERALS),
        }
        ops, pool = pools[kind]
        if kind == "set" and self._chance(0.2):
            pool = ["true", "TRUE", "True"]
        return self._dice.choice(ops), self._some(pool)

    def _test_of(self, field: str) -> tuple[str, list[str]]:
        """A test that all engines read alike for this field."""
        dice = self._dice
        if field == "number":
            return dice.choice(ORDER_OPS), self._some(NUMBERS, 2)
        if field == "version":
            return dice.choice([f"version {op}" for op in ORDER_OPS]), self._some(VERSIONS, 2)
        if field == "list":
            # What a missing list means to `set is not` is not agreed upon.
            return dice.choice([op for op in SET_OPS if op != "set is not"]), self._some(WORDS)
        if field == "word" and self._chance(0.3):
            return "regex match", self._some(PATTERNS, 2)
        return dice.choice(TEXT_OPS), self._some(WORDS + LITERALS + ["(none)"])


def _condition(selector: list[str], op: str, values: list[str]) -> dict[str, Any]:
    return {"selector": selector, "op": op, "values": values}


def _object(members: dict[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in members.items()) + "}"
