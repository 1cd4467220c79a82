"""What a terminal shows of a running proxy: its health, then one block for each area."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, final

from proxy.cli.seen import Cohort, Deployment, Lane, Seen, Traffic
from proxy.cli.terminal import Cell, Column, Terminal, Tone, size, span
from proxy.cli.verdict import OLD_COHORT_SECONDS, OLD_EVENT_SECONDS, Verdict, is_late

MOST_ROWS: Final = 50
MOST_CHANGES: Final = 8
MOST_BARS: Final = 45
MILLION: Final = 1_000_000

DEPLOYMENTS: Final = (
    Column("name", gives=True),
    Column("flags", right=True),
    Column("left out", right=True),
    Column("heard of", right=True),
    Column("source", gives=True),
    Column("stream", gives=True),
)
LEFT_OUT: Final = (
    Column("deployment", gives=True),
    Column("flag", gives=True),
    Column("in force"),
    Column("reason", gives=True),
)
COHORTS: Final = (
    Column("cohort", gives=True),
    Column("state", gives=True),
    Column("members", right=True),
    Column("heard of", right=True),
    Column("trouble", gives=True),
)
EVENTS: Final = (
    Column("project", gives=True),
    Column("waiting", right=True),
    Column("bytes", right=True),
    Column("oldest", right=True),
    Column("sent", right=True),
    Column("lost", right=True),
    Column("last answer", gives=True),
)


def sheet(seen: Seen, verdict: Verdict, terminal: Terminal) -> str:
    """Return all lines, ready to be written."""
    return "\n".join(_Sheet(seen, verdict, terminal).lines()) + "\n"


@final
class _Sheet:
    def __init__(self, seen: Seen, verdict: Verdict, terminal: Terminal) -> None:
        self._seen = seen
        self._status = seen.status
        self._verdict = verdict
        self._terminal = terminal

    def lines(self) -> Iterator[str]:
        yield from self._health()
        for title, block in (
            ("Deployments", self._deployments()),
            ("Flags left out", self._left_out()),
            ("Cohorts", self._cohorts()),
            ("Events", self._events()),
            ("Evaluation requests", self._requests()),
            ("Changes of flags", self._changes()),
        ):
            lines = list(block)
            if lines:
                yield from ("", self._terminal.paint(title, "bold"), *lines)

    def _health(self) -> Iterator[str]:
        status, terminal = self._status, self._terminal
        word, tone = self._word()
        up = span(status.uptime_seconds)
        about = terminal.text(f"evaluation-proxy {status.version} at {self._seen.url}, up {up}")
        room = terminal.columns - len(word) - 2
        yield f"{terminal.paint(word, tone)}  {terminal.cut(about, room)}"
        yield from self._list("  ! ", self._verdict.alarms, tone)
        yield from self._list("  - ", self._verdict.notes, "dim")

    def _word(self) -> tuple[str, Tone]:
        if self._verdict.is_well:
            return "well", "good"
        is_ready = self._seen.readiness.ready and not self._status.stopping
        return ("in trouble", "worry") if is_ready else ("not ready", "bad")

    def _list(self, sign: str, texts: Sequence[str], tone: Tone) -> Iterator[str]:
        for text in texts[:MOST_ROWS]:
            for line in self._terminal.wrap(text, sign, "    "):
                yield self._terminal.paint(line, tone)
        yield from self._more(len(texts))

    def _deployments(self) -> Iterator[str]:
        shown = self._status.deployments[:MOST_ROWS]
        if shown:
            yield from self._terminal.table(DEPLOYMENTS, map(_deployment, shown))
        else:
            yield "  none"
        yield from self._more(len(self._status.deployments))

    def _left_out(self) -> Iterator[str]:
        rows = [
            (
                Cell(deployment.deployment),
                Cell(one.flag, "worry"),
                Cell("earlier one" if one.in_force else "nothing"),
                Cell(one.reason),
            )
            for deployment in self._status.deployments
            for one in deployment.left_out
        ]
        if rows:
            yield from self._terminal.table(LEFT_OUT, rows[:MOST_ROWS])
            yield from self._more(len(rows))

    def _cohorts(self) -> Iterator[str]:
        found = [one for each in self._status.cohorts for one in each.cohorts]
        if not found:
            return
        # What is in trouble must not hide behind what is not.
        found.sort(key=lambda one: (one.state == "here" and not one.trouble, one.id))
        yield from self._terminal.table(COHORTS, map(_cohort, found[:MOST_ROWS]))
        yield from self._more(len(found))

    def _events(self) -> Iterator[str]:
        if not self._status.events:
            return
        yield from self._terminal.table(EVENTS, map(_lane, self._status.events[:MOST_ROWS]))
        yield from self._more(len(self._status.events))
        spool = self._status.spool
        if spool.place == "disk":
            yield f"  on disk: {size(spool.used_bytes)} of {size(spool.max_bytes)}"

    def _requests(self) -> Iterator[str]:
        traffic = self._seen.traffic
        if not traffic.samples:
            return
        now = traffic.samples[-1]
        rate, failed = _rate(now.requests_per_second), _rate(now.failures_per_second)
        p50, p99 = _millis(now.p50_millis), _millis(now.p99_millis)
        yield f"  {rate}/s now, {failed}/s refused or failed; p50 {p50}, p99 {p99}"
        yield from self._history(traffic)

    def _history(self, traffic: Traffic) -> Iterator[str]:
        minutes = span(len(traffic.samples) * traffic.interval_seconds)
        rates = [one.requests_per_second for one in traffic.samples]
        slow = [one.p99_millis or 0.0 for one in traffic.samples]
        if any(rates):
            bars = self._terminal.bars(rates, MOST_BARS)
            yield f"  {bars}  up to {_rate(max(rates))}/s in {minutes}"
        if any(slow):
            bars = self._terminal.bars(slow, MOST_BARS)
            yield f"  {bars}  p99 up to {_millis(max(slow))} in {minutes}"

    def _changes(self) -> Iterator[str]:
        changes = self._seen.changes.changes
        for change in changes[:MOST_CHANGES]:
            ago = span(self._status.now - change.at)
            what = "; ".join(change.what) or change.kind
            line = ": ".join(filter(None, (f"{ago} ago, {change.deployment}", change.flag, what)))
            yield from self._terminal.wrap(line, "  ", "    ")
        if len(changes) > MOST_CHANGES:
            yield f"  and {len(changes) - MOST_CHANGES} earlier ones"

    def _more(self, number: int) -> Iterator[str]:
        if number > MOST_ROWS:
            yield f"  and {number - MOST_ROWS} more (--json has all)"


def _deployment(one: Deployment) -> tuple[Cell, ...]:
    age = one.age_seconds
    late: Tone = "bad" if age is None or is_late(one) else "plain"
    return (
        Cell(one.deployment, "bold"),
        Cell(str(one.flags)),
        Cell(str(len(one.left_out)), "worry" if one.left_out else "plain"),
        Cell("never" if age is None else f"{span(age)} ago", late),
        Cell(one.source or "-"),
        Cell(one.stream or "-", "good" if one.stream == "delivers" else "plain"),
    )


def _cohort(one: Cohort) -> tuple[Cell, ...]:
    age = one.age_seconds
    tones: dict[str, Tone] = {"here": "good", "loading": "worry", "missing": "bad"}
    return (
        Cell(one.id),
        Cell(one.state, tones.get(one.state, "plain")),
        Cell("-" if one.size is None else _number(one.size)),
        Cell(
            "never" if age is None else f"{span(age)} ago",
            "worry" if age is not None and age > OLD_COHORT_SECONDS else "plain",
        ),
        Cell(one.trouble or one.reason),
    )


def _lane(one: Lane) -> tuple[Cell, ...]:
    lost = sum(one.counts.dropped.values())
    last = one.last_answer
    said = "-" if last is None else " ".join(filter(None, (str(last.status or ""), last.said)))
    return (
        Cell(one.project),
        Cell(_number(one.pending)),
        Cell(size(one.pending_bytes)),
        Cell(
            span(one.oldest_age_seconds) if one.pending else "-",
            "bad" if one.oldest_age_seconds > OLD_EVENT_SECONDS else "plain",
        ),
        Cell(_number(one.counts.sent)),
        Cell(_number(lost), "bad" if lost else "plain"),
        Cell(said, "worry" if one.failures_in_a_row else "plain"),
    )


def _number(number: int) -> str:
    return f"{number:,}" if number < MILLION else f"{number / MILLION:,.1f} M"


def _rate(number: float) -> str:
    return f"{number:.0f}" if number >= 10 or not number else f"{number:.1f}"


def _millis(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number:.0f} ms" if number >= 10 else f"{number:.1f} ms"
