"""Which answers tell the same: 128 bits for each, quick to come by and free of any order.

They are the sum of one hash of the project and the user and one of each flag with its variant,
which is worked out once; so nobody need sort, join and hash long texts. Two answers tell the same
if user, flags and variants are the same; then their canonical texts are the same, too. Others meet
by an accident of 2^-128, and the seed, drawn anew by each process, lets nobody arrange one.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from typing import Final

import mmh3

from proxy.evaluation.outcomes import Outcome

MASK: Final = (1 << 128) - 1
_SEED: Final = secrets.randbits(32)


def key_of(text: str, seed: int = _SEED) -> int:
    """Return 128 bits that stand for a text; the seed keeps outsiders from making texts meet."""
    # Never hand the library a str: half a surrogate pair in it ends the process.
    return mmh3.hash128(text.encode("utf-8", "surrogatepass"), seed)


_ASKED: Final = key_of("asked")


def answer_key(
    place: int, user_id: str | None, device_id: str | None, outcomes: Sequence[Outcome]
) -> int:
    """Return what stands for an answer to a user of the project at a place."""
    user = "null" if user_id is None else user_id.strip()
    device = "null" if device_id is None else device_id.strip()
    # The length tells where the first id ends.
    identity = key_of(f"{place} {len(user)} {user} {device}")
    return identity + sum([one.tag or _tag(one) for one in outcomes]) & MASK


def exposure_key(answer: int, outcomes: Sequence[Outcome], asked: Collection[str]) -> int:
    """Return what stands for an exposure: an answer, and which of its flags were asked for.

    Whoever asks for a dependency later is exposed to it then, although the answer is the same.
    """
    if not asked:
        return answer
    named = [key_of(f"asked {one.flag_key}") for one in outcomes if one.flag_key in asked]
    return answer if len(named) == len(outcomes) else answer + sum(named, _ASKED) & MASK


def _tag(outcome: Outcome) -> int:
    outcome.tag = key_of(f"{len(outcome.flag_key)} {outcome.flag_key}{outcome.canonical}")
    return outcome.tag
