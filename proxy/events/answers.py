"""What an answer to a batch means for each of its events. Pure; the one place that reads answers.

| answer | what becomes of the events |
|---|---|
| 2xx | accepted, unless the body is a page: then something else answered in upstream's place |
| 2xx whose JSON says another `code` | as that code |
| 400 that names the API key or a missing field | all dropped |
| 400, 429 that name events or ids | those dropped or held, the others resent at once |
| 429 that names none | all resent after a rest |
| 413 | one alone is dropped, else resent at once in smaller batches from now on |
| 401, 403, 404, 407, 408, 425, 1xx, 3xx, 5xx, a page, no answer | all resent, later and slower |
| any other 4xx, a 400 that names none | one alone is dropped, else resent at once in halves |

Every event of the batch is in exactly one of `accepted`, `dropped`, `held`, `resent`.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from proxy.events.received import members_of, value_of
from proxy.events.subject import id_text
from proxy.upstream.analytics import Receipt

# 401, 403, 404 and 407 speak of the way to upstream, not of an event: a bad key is a 400 there.
TEMPORARY: Final = frozenset({401, 403, 404, 407, 408, 425})
INVALID_KEY: Final = "Invalid API key"
LEAST_HOLD_SECONDS: Final = 1.0
"""What is held rests at least so long: upstream may ask for no wait, and throttle again."""
LONGEST_HOLD_SECONDS: Final = 300.0
"""Nor longer: it stands in nobody's way, but must not pile up."""

# Indices of events, by what is wrong with them.
_INVALID_FIELDS: Final = (
    "events_with_invalid_fields",
    "events_with_missing_fields",
    "events_with_invalid_id_lengths",
)
# Ids, as a list or as a map from each id to a number, by what they did.
_SILENCED_IDS: Final = ("silenced_devices",)
_QUOTA_IDS: Final = ("exceeded_daily_quota_users", "exceeded_daily_quota_devices")
_THROTTLED_IDS: Final = ("throttled_users", "throttled_devices")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with the events of a batch, told by their places in it.

    `dropped` gives each reason; `halve` asks to resend in two, `shrink` to send smaller batches
    from now on; `wait` is the least rest before the next batch in seconds, `slower` asks for
    more of it each time. `why` is one phrase for people.
    """

    why: str
    accepted: tuple[int, ...] = ()
    dropped: dict[int, str] = {}
    held: tuple[int, ...] = ()
    hold_seconds: float = 0.0
    resent: tuple[int, ...] = ()
    halve: bool = False
    shrink: bool = False
    slower: bool = False
    wait: float = 0.0


def judge(receipt: Receipt | None, batch: Sequence[bytes], rest_seconds: float) -> Verdict:
    """Say what `receipt` (None: no answer came) means for the encoded events of `batch`."""
    everything = tuple(range(len(batch)))
    if receipt is None:
        return Verdict(why="no answer", resent=everything, slower=True)
    status = receipt.status
    if 200 <= status <= 299 and not _is_page(receipt.body):
        said = _code_in(receipt.body)
        if said is None:
            return Verdict(why="accepted", accepted=everything)
        return judge(receipt._replace(status=said), batch, rest_seconds)
    if 400 <= status <= 499 and status not in TEMPORARY:
        return _client_error(receipt, batch, rest_seconds)
    why, patience = f"answered {status}", receipt.retry_after or 0.0
    if 200 <= status <= 299:
        why += " with a web page: something on the way answers in Amplitude's place"
    return Verdict(why=why, resent=everything, slower=True, wait=patience)


def _is_page(body: bytes) -> bool:
    return body.removeprefix(BOM_UTF8).lstrip().startswith(b"<")


def _code_in(body: bytes) -> int | None:
    """Return the code of a failure that is told in the body alone, as some gateways do."""
    details = _details(body)
    code = None if details is None else details.get("code")
    return code if type(code) is int and 400 <= code <= 599 else None


def _client_error(receipt: Receipt, batch: Sequence[bytes], rest_seconds: float) -> Verdict:
    status = receipt.status
    if status == 413:
        return _too_large(len(batch))
    named = _named(receipt, batch, rest_seconds) if status in {400, 429} else None
    if named is not None:
        return named
    if status == 429:
        rest = rest_seconds if receipt.retry_after is None else receipt.retry_after
        resent = tuple(range(len(batch)))
        return Verdict(why="throttled", resent=resent, slower=True, wait=rest)
    return _refused(status, len(batch), receipt.retry_after or 0.0)


def _too_large(count: int) -> Verdict:
    if count == 1:
        return Verdict(why="too large", dropped={0: "too_large"}, slower=True)
    return Verdict(why="too large", resent=tuple(range(count)), shrink=True)


def _refused(status: int, count: int, patience: float) -> Verdict:
    why = f"refused with {status}"
    if count == 1:
        # If it was not this event's fault, the next ones must not be lost at full speed.
        return Verdict(why=why, dropped={0: "refused"}, slower=True, wait=patience)
    return Verdict(why=why, resent=tuple(range(count)), halve=True, wait=patience)


def _named(receipt: Receipt, batch: Sequence[bytes], rest_seconds: float) -> Verdict | None:
    """Judge by what the body names; None when it names nothing in this batch."""
    details = _details(receipt.body)
    if details is None:
        return None
    hopeless = _hopeless(details) if receipt.status == 400 else None
    if hopeless is not None:
        return Verdict(
            why=hopeless.replace("_", " "),
            dropped=dict.fromkeys(range(len(batch)), hopeless),
            slower=True,
            wait=receipt.retry_after or 0.0,
        )
    dropped, held = _named_events(details, batch)
    if not dropped and not held:
        return None
    rest = rest_seconds if receipt.retry_after is None else receipt.retry_after
    others = (place for place in range(len(batch)) if place not in dropped and place not in held)
    return Verdict(
        why="partly refused" if dropped else "partly throttled",
        dropped=dropped,
        held=tuple(sorted(held)),
        hold_seconds=min(max(rest, LEAST_HOLD_SECONDS), LONGEST_HOLD_SECONDS) if held else 0.0,
        resent=tuple(others),
    )


def _details(body: bytes) -> dict[str, Any] | None:
    try:
        details = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    return details if isinstance(details, dict) else None


def _hopeless(details: dict[str, Any]) -> str | None:
    error = details.get("error")
    if isinstance(error, str) and error.startswith(INVALID_KEY):
        return "invalid_api_key"
    return "missing_field" if details.get("missing_field") else None


def _named_events(
    details: dict[str, Any], batch: Sequence[bytes]
) -> tuple[dict[int, str], set[int]]:
    dropped: dict[int, str] = {}
    for field in _INVALID_FIELDS:
        by_field = details.get(field)
        for places in by_field.values() if isinstance(by_field, dict) else ():
            dropped.update(dict.fromkeys(_places(places, batch), "invalid"))
    silenced = _places(details.get("silenced_events"), batch)
    silenced |= _places_of(_ids(details, _SILENCED_IDS), batch)
    over_quota = _places_of(_ids(details, _QUOTA_IDS), batch)
    for reason, found in (("silenced", silenced), ("quota", over_quota)):
        dropped |= dict.fromkeys(found - dropped.keys(), reason)
    throttled = _places(details.get("throttled_events"), batch)
    throttled |= _places_of(_ids(details, _THROTTLED_IDS), batch)
    return dropped, throttled - dropped.keys()


def _places(value: Any, batch: Sequence[bytes]) -> set[int]:
    if not isinstance(value, list):
        return set()
    return {place for place in value if type(place) is int and 0 <= place < len(batch)}


def _ids(details: dict[str, Any], fields: Iterable[str]) -> dict[str, set[str]]:
    """Collect the ids that are named, by the event's member that holds such an id."""
    found: dict[str, set[str]] = {}
    for field in fields:
        named = details.get(field)
        if named and isinstance(named, list | dict):
            member = "user_id" if field.endswith("users") else "device_id"
            found[member] = {one for one in named if isinstance(one, str)}
    return found


def _places_of(ids: dict[str, set[str]], batch: Sequence[bytes]) -> set[int]:
    if not ids:
        return set()
    found = set()
    for place, body in enumerate(batch):
        # Of what clients made, only its ids need be readable.
        members = members_of(msgspec.Raw(body))
        if any(id_text(value_of(members.get(name))) in named for name, named in ids.items()):
            found.add(place)
    return found
