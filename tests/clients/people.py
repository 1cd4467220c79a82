"""Two hundred users as applications describe them, the same in every run."""

import random
from typing import Any

COUNTRIES = ["Germany", "Österreich", "France", "日本", "Brazil", None]
VERSIONS = ["1.0.0", "1.4.9", "1.5.3", "2.9.9", "2.10.0", "10.0.1", None]
MAILS = ["ada1@example.com", "bob@example.org", "x@test.net", "Ada@example.com", None]
TAGS = ["a", "b", "c", "d", "e"]


def users(count: int = 200) -> list[dict[str, Any]]:
    """Return users whose fields may be missing; every user has both ids."""
    dice = random.Random(20)
    return [_user(number, dice) for number in range(count)]


def _user(number: int, dice: random.Random) -> dict[str, Any]:
    user: dict[str, Any] = {"user_id": f"user-{number}", "device_id": f"device-{number}"}
    for field, choices in (("country", COUNTRIES), ("version", VERSIONS)):
        if (value := dice.choice(choices)) is not None:
            user[field] = value
    properties: dict[str, Any] = {"plan": dice.choice(["free", "big", "größer"])}
    if dice.random() < 0.8:
        properties["age"] = dice.choice([7, 17, 18, 40, 64, 65, "33", 101])
    if (mail := dice.choice(MAILS)) is not None:
        properties["email"] = mail
    properties["tags"] = dice.sample(TAGS, dice.randint(1, 4))
    properties["premium"] = dice.choice(["true", "TRUE", "false", "no"])
    user["user_properties"] = properties
    if dice.random() < 0.5:
        name = dice.choice(["acme", "globex", "Übermut GmbH"])
        user["groups"] = {"org": [name]}
        if dice.random() < 0.7:
            tier = dice.choice(["gold", "silver"])
            user["group_properties"] = {"org": {name: {"tier": tier}}}
    return user
