"""Flags and users that meet each other often, with everything odd that either may hold."""

import json
from typing import Any

from hypothesis import strategies as st

from proxy.evaluation.operators import SET_OPERATORS, TEXT_OPERATORS

Json = dict[str, Any]

FLAG_KEYS = ("a", "b", "c", "d", "e", 'f"\n', "[g]")
FIELDS = ("p", "q", "user_id", "", "cohort_ids", "[h]", "constructor")

TEXTS = (
    *(
        "",
        "a",
        "A",
        "b",
        "ab",
        "beta",
        "(none)",
        "on",
        "off",
        "İstanbul",
        "é",
        "\x00",
        "{}",
        "'\"\\\n",
    ),
    *(
        "true",
        "TRUE",
        "false",
        "False",
        "fal\u017fe",
        "1",
        "1.0",
        "01",
        "-0",
        "2",
        "10",
        "1e3",
        "NaN",
    ),
    *(
        "0x1p3",
        " 5 ",
        "1.2",
        "1.2.3",
        "1.2.3-a",
        "1.2.3-b+c",
        "v1.2",
        "2147483648.0",
        "1.2.99999999999",
    ),
    *("[", "[]", "[a]", "[1,x]", '["a","b"]', "[1,2,]", " [a]", "[true]", '[["a"],{"b":1}]'),
    *("\uffee", "\U0001f600", "x" * 70, "2026-03-01", "2026-02-28", "1" * 70),
)
plain_texts = st.sampled_from(TEXTS)
patterns = st.sampled_from(
    ("a", "a.*", "[", ".*", "(?i)A", "\\d+", "", "(a|b)+", "\\p{L}", "^a$", "(?P<n>a)", "a(?=b)b")
)
numbers = st.sampled_from((0, 1, -1, 2, 10, 1.0, -0.0, 0.5, 1e21, 1e-7, 2**53 + 1, -(2**63), 1e300))
scalars = st.one_of(plain_texts, plain_texts, numbers, st.booleans(), st.none(), st.just("\ud800x"))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3)
    ),
    max_leaves=5,
)
lists = st.lists(scalars, max_size=4)
properties = st.dictionaries(st.sampled_from(FIELDS), values, max_size=4)
group_types = st.sampled_from(("org", "team", ""))

groups = st.one_of(
    st.dictionaries(group_types, st.one_of(lists, lists, values), max_size=2), scalars, lists
)
group_facts = st.one_of(
    st.dictionaries(
        group_types,
        st.one_of(st.dictionaries(plain_texts, st.one_of(properties, lists), max_size=3), scalars),
        max_size=2,
    ),
    scalars,
)
users: st.SearchStrategy[Json] = st.builds(
    lambda fields, more: fields | more,
    properties,
    st.fixed_dictionaries(
        {},
        optional={
            "user_id": scalars,
            "device_id": scalars,
            "user_properties": st.one_of(properties, properties, values),
            "cohort_ids": st.one_of(lists, values),
            "groups": groups,
            "group_properties": group_facts,
            "group_cohort_ids": group_facts,
        },
    ),
)


def as_json(value: Any) -> bytes:
    """JSON text that keeps whole doubles and half surrogate pairs."""
    return json.dumps(value).encode()


selectors = st.one_of(
    st.sampled_from(FIELDS).map(lambda name: ["context", "user", name]),
    st.sampled_from(FIELDS).map(lambda name: ["context", "user", "user_properties", name]),
    st.sampled_from(FIELDS).map(lambda name: ["context", "user", "user_properties", "p", name]),
    st.tuples(group_types, st.sampled_from(("group_name", "cohort_ids", "group_properties"))).map(
        lambda pair: ["context", "groups", *pair]
    ),
    st.tuples(group_types, st.sampled_from(FIELDS)).map(
        lambda pair: ["context", "groups", pair[0], "group_properties", pair[1]]
    ),
    st.tuples(st.sampled_from(FLAG_KEYS), st.sampled_from(("key", "key", "value", "payload"))).map(
        lambda pair: ["result", *pair]
    ),
    st.sampled_from(FLAG_KEYS).map(lambda key: ["result", key, "metadata", "note"]),
    st.sampled_from(
        (
            [],
            ["context"],
            ["context", "user"],
            ["context", "groups"],
            ["context", "groups", "org"],
            ["context", "user", "groups"],
            ["context", "user", "group_properties", "org"],
            ["context", "other"],
            ["result"],
            ["result", "a"],
            ["result", "a", "metadata"],
            ["nowhere", "p"],
            ["user", "p"],
        )
    ),
)
conditions: st.SearchStrategy[Json] = st.one_of(
    st.builds(
        lambda selector, op, wanted: {"selector": selector, "op": op, "values": wanted},
        selectors,
        st.sampled_from([*sorted(TEXT_OPERATORS | SET_OPERATORS), "unknown", "IS"]),
        st.lists(plain_texts, max_size=4),
    ),
    st.builds(
        lambda selector, op, wanted: {"selector": selector, "op": op, "values": wanted},
        selectors,
        st.sampled_from(["regex match", "regex does not match"]),
        st.lists(patterns, max_size=2),
    ),
)
condition_lists: st.SearchStrategy[list[list[Json]] | None] = st.one_of(
    st.none(), st.lists(st.lists(conditions, max_size=3), max_size=3), st.just([[]]), st.just([])
)
variant_keys = st.sampled_from(("on", "off", "x", "missing"))
distribution_ends = st.sampled_from(
    (0, 1, 10_000_000, 21474836, 21474837, 30_000_000, 42949672, 42949673, 2**40, -5)
)
allocation_ends = st.sampled_from((0, 1, 30, 50, 99, 100, 101, 10**30, -1))
distributions = st.builds(
    lambda variant, start, end: {"variant": variant, "range": [start, end]},
    variant_keys,
    st.one_of(st.just(0), distribution_ends),
    distribution_ends,
)
allocations = st.builds(
    lambda start, end, shares: {"range": [start, end], "distributions": shares},
    st.one_of(st.just(0), allocation_ends),
    st.one_of(st.just(100), allocation_ends),
    st.one_of(
        st.lists(distributions, max_size=4), st.lists(distributions, min_size=17, max_size=20)
    ),
)
buckets = st.builds(
    lambda selector, salt, shares: {"selector": selector, "salt": salt, "allocations": shares},
    st.one_of(st.just(["context", "user", "user_id"]), selectors),
    plain_texts,
    st.lists(allocations, max_size=3),
)
segments = st.builds(
    lambda tests, bucket, variant, name: {
        "conditions": tests,
        "bucket": bucket,
        "variant": variant,
        "metadata": {"segmentName": name},
    },
    condition_lists,
    st.one_of(st.none(), buckets),
    st.one_of(st.none(), variant_keys),
    plain_texts,
)
variants = st.fixed_dictionaries(
    {},
    optional={
        "on": st.just({"key": "on", "value": "on", "payload": [1.0, {"é": None}]}),
        "off": st.just({"key": "off", "metadata": {"default": True, "note": "[a]"}}),
        "x": st.builds(
            lambda key, value: {"key": key, "value": value, "metadata": {"note": value}},
            plain_texts,
            st.one_of(plain_texts, numbers, st.none(), st.just({"k": [1, "b"]})),
        ),
    },
)


@st.composite
def flags(draw: st.DrawFn) -> Json:
    """One flag; those it depends on are likely to exist."""
    return {
        "key": draw(st.sampled_from(FLAG_KEYS)),
        "variants": draw(variants),
        "segments": draw(st.lists(segments, max_size=4)),
        "dependencies": draw(
            st.one_of(st.none(), st.lists(st.sampled_from((*FLAG_KEYS, "ghost")), max_size=2))
        ),
        "metadata": draw(
            st.sampled_from((None, {}, {"deployed": False, "flagVersion": 3, "experimentKey": "e"}))
        ),
    }


flag_lists = st.lists(flags(), max_size=7)
asked_keys = st.lists(st.sampled_from((*FLAG_KEYS, "ghost")), max_size=4)
