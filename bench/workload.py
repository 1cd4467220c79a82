"""Flags and users as they are met in the field, the same in every run.

A flag has two targeting segments and a rollout, variants with payloads, and the metadata that
Amplitude serves. Users carry what client libraries send and a few properties of their own.
Nothing in here touches a point on which the engines differ, so all must give the same variants.
"""

import random
from typing import Any

import msgspec

COUNTRIES = ("United States", "Canada", "Germany", "Brazil", "India", "Japan", "France", "Kenya")
PLATFORMS = ("iOS", "Android", "Web")
LANGUAGES = ("English", "German", "Portuguese", "Japanese", "French")
PLANS = ("free", "starter", "pro", "enterprise")
AREAS = ("checkout", "search", "onboarding", "pricing", "profile", "feed", "billing", "editor")
COHORTS = tuple(f"c0h0rt{number:02d}" for number in range(12))
FULL = 42949673
HALF = 21474837

Json = dict[str, Any]


def condition(field: str, op: str, *values: str) -> Json:
    path = ["context", "user", *field.split(".")]
    return {"selector": path, "op": op, "values": list(values)}


def targeting(index: int, chance: random.Random) -> list[list[Json]]:
    """The conditions of one targeting segment; the kinds take turns."""
    kinds = (
        lambda: [[condition("country", "is", *chance.sample(COUNTRIES, 2))]],
        lambda: [
            [
                condition("platform", "is", chance.choice(PLATFORMS)),
                condition("version", "version greater or equal", f"{chance.randint(2, 6)}.4.0"),
            ]
        ],
        lambda: [[condition("user_properties.plan", "is", *chance.sample(PLANS, 2))]],
        lambda: [[condition("cohort_ids", "set contains any", *chance.sample(COHORTS, 2))]],
        lambda: [
            [condition("language", "is", chance.choice(LANGUAGES))],
            [condition("user_properties.beta", "is", "true")],
        ],
        lambda: [
            [
                condition("country", "is not", *chance.sample(COUNTRIES, 3)),
                condition("user_properties.logins", "greater", str(chance.randint(40, 90))),
            ]
        ],
        lambda: [[condition("user_properties.email", "contains", "@example.org")]],
    )
    return kinds[index % len(kinds)]()


def bucket(salt: str, end: int, *variants: str) -> Json:
    ranges = ([0, FULL],) if len(variants) == 1 else ([0, HALF], [HALF - 1, FULL])
    distributions = [
        {"variant": variant, "range": list(reach)}
        for variant, reach in zip(variants, ranges, strict=True)
    ]
    return {
        "selector": ["context", "user", "user_id"],
        "salt": salt,
        "allocations": [{"range": [0, end], "distributions": distributions}],
    }


def flag(index: int) -> Json:
    """Flag number `index`, the same in every deployment that has it."""
    chance = random.Random(index)
    key = f"{AREAS[index % len(AREAS)]}-{'test' if index % 2 else 'release'}-{index:04d}"
    salt = f"{chance.getrandbits(40):010x}"
    served = ("control", "treatment") if index % 2 else ("on",)
    metadata: Json = {
        "deployed": True,
        "evaluationMode": "remote",
        "flagType": "experiment" if index % 2 else "release",
        "flagVersion": chance.randint(1, 60),
    }
    if index % 2:
        metadata["experimentKey"] = "exp-1"
    variants: Json = {
        name: {
            "key": name,
            "value": name,
            "payload": {"colour": chance.choice(("blue", "green")), "rank": index},
        }
        for name in served
    }
    variants["off"] = {"key": "off", "metadata": {"default": True}}
    names = ("Segment 1", "Segment 2", "All Other Users")
    ends = (100, chance.choice((50, 80, 100)), chance.choice((10, 25, 60)))
    segments: list[Json] = [
        {"metadata": {"segmentName": name}, "variant": "off", "bucket": bucket(salt, end, *served)}
        for name, end in zip(names, ends, strict=True)
    ]
    segments[0]["conditions"] = targeting(index, chance)
    segments[1]["conditions"] = targeting(index + 3, chance)
    return {"key": key, "variants": variants, "segments": segments, "metadata": metadata}


def flags(count: int) -> list[Json]:
    return [flag(index) for index in range(count)]


def flags_json(count: int) -> bytes:
    return msgspec.json.encode(flags(count))


def user(index: int) -> Json:
    chance = random.Random(index)
    return {
        "user_id": f"user-{index}@{chance.getrandbits(24):06x}",
        "device_id": f"{chance.getrandbits(128):032x}",
        "country": chance.choice(COUNTRIES),
        "language": chance.choice(LANGUAGES),
        "platform": chance.choice(PLATFORMS),
        "version": f"{chance.randint(1, 7)}.{chance.randint(0, 9)}.{chance.randint(0, 20)}",
        "os": "iOS 17.2",
        "device_model": "iPhone14,2",
        "library": "experiment-js-client/1.15.3",
        "user_properties": {
            "plan": chance.choice(PLANS),
            "beta": chance.choice((True, False)),
            "logins": chance.randint(0, 200),
            "email": f"someone{index}@example.{chance.choice(('com', 'org', 'net'))}",
            "referrer": "newsletter",
        },
        "cohort_ids": chance.sample(COHORTS, 3),
    }


def users(count: int) -> list[Json]:
    return [user(index) for index in range(count)]
