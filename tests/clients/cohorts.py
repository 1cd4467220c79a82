"""Cohorts of users and of companies, people who are in them or not, and what an engine is told."""

import json
from pathlib import Path
from typing import Any

from tests.clients.people import users

CROWD = 20_000
ODD_NAMES = ["ü ö/ä?#%&+", "日本 語", "🙂", 'a"quoted"\\name', "acme", "0042"]
"""User ids that a path, a query or JSON has to be careful with; one is also a company's name."""
TEAMS = ["north/east 5", "south", "Übermut & Söhne", "a//b"]


def people() -> list[dict[str, Any]]:
    """Return the usual users, some of them renamed, without an id, or in teams."""
    found = users()
    for number, user in enumerate(found):
        if number < len(ODD_NAMES) * 3 and number % 3 == 0:
            user["user_id"] = ODD_NAMES[number // 3]
        if number % 29 == 28:
            del user["user_id"]
        if number % 2:
            team = TEAMS[number // 2 % len(TEAMS)]
            # Only the first name of a type counts.
            user.setdefault("groups", {})["team"] = [team, "south"]
        if number % 31 == 30:
            user.setdefault("groups", {})["org"] = []
    return found


def _cohorts() -> dict[str, tuple[str, list[str]]]:
    ids = [user["user_id"] for user in people() if "user_id" in user]
    strangers = [f"member-{number:08}-0000-4000-8000" for number in range(CROWD)]
    return {
        "beta": ("User", [*ids[::3], *strangers[:100]]),
        "crowd": ("User", [*strangers[: CROWD - len(ids[1::2])], *ids[1::2]]),
        "nobody": ("User", []),
        "payers": ("org", ["acme", "Übermut GmbH", "not a customer"]),
        "northern": ("team", TEAMS[::2]),
        "vacant": ("team", []),
    }


COHORTS = _cohorts()
"""Cohort id to the type of its members and their names."""


def flag_file() -> str:
    """Return the sandbox's file: the flags as written, then the cohorts."""
    entries = {
        name: {"group": group, "members": members} for name, (group, members) in COHORTS.items()
    }
    flags = Path(__file__).with_name("cohort_flags.yaml").read_text()
    # JSON is YAML as long as nothing is escaped as a pair of surrogates.
    return f"{flags}cohorts: {json.dumps(entries, ensure_ascii=False)}\n"


MEMBERS = {name: (group, frozenset(members)) for name, (group, members) in COHORTS.items()}


def holding(group_type: str, name: str) -> list[str]:
    """Return the ids of the cohorts that hold a user or a group."""
    return [
        cohort
        for cohort, (group, members) in MEMBERS.items()
        if group == group_type and name in members
    ]


def told(user: dict[str, Any]) -> dict[str, Any]:
    """Return the user with all cohort ids spelled out, as an engine wants to be told them."""
    told = dict(user)
    if "user_id" in user:
        told["cohort_ids"] = holding("User", user["user_id"])
    first = {group: names[0] for group, names in user.get("groups", {}).items() if names}
    told["group_cohort_ids"] = {
        group: {name: ids} for group, name in first.items() if (ids := holding(group, name))
    }
    return told
