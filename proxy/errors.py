"""Every failure we name, on one page.

ProxyError
├── SettingsError            the configuration cannot be used; carries every mistake
├── UpstreamError            upstream did not give what was asked; `retry_after` when it said when
│   ├── UpstreamUnavailable  no answer, a time-out, 408, 429 or 5xx: asking again makes sense
│   ├── UpstreamRefused      401, 403 or another final 4xx: asking again changes nothing soon
│   └── UpstreamGarbled      an answer whose body is not what the interface promises
├── SpoolError               events cannot be kept on disk; the text is fit for operators
│   ├── SpoolUnusable        not now: full, read-only, held by another process
│   └── SpoolDamaged         what is there is of no use
├── CohortError              a cohort could not be made of what was downloaded
│   ├── BodyBroken           the body is not a cohort, or not the one that was asked for
│   ├── IndexBroken          an index file that cannot be used
│   ├── NoRoom               the disk took no more, or there is no place to write to
│   └── BuilderDied          the building process ended before it was done
├── StoreError               the data directory did not give what was asked
│   ├── Damaged              a file is missing, cut or changed
│   └── Hindered             it cannot be used or written now; `reason` is of a closed set
├── ArchiveError             a snapshot file was refused; `reason` is of a closed set
└── BadRequest               a client's mistake; `status` and a reason fit for the client
"""

from __future__ import annotations


class ProxyError(Exception):
    """The root of all failures that the proxy names."""


class SettingsError(ProxyError):
    """The configuration cannot be used; `mistakes` holds one sentence for each mistake."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class UpstreamError(ProxyError):
    """Upstream did not give what was asked for."""

    def __init__(
        self, reason: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.retry_after = retry_after


class UpstreamUnavailable(UpstreamError):
    """No answer, a time-out, 408, 429 or 5xx: asking again makes sense."""


class UpstreamRefused(UpstreamError):
    """A final 4xx, 401 and 403 among them: asking again changes nothing soon."""


class UpstreamGarbled(UpstreamError):
    """An answer whose body is not what the interface promises."""


class SpoolError(ProxyError):
    """Events cannot be kept on disk; the text is fit for operators."""


class SpoolUnusable(SpoolError):
    """Not now: the disk is full, read-only, failing, or another process has the spool."""


class SpoolDamaged(SpoolError):
    """What is on disk is of no use."""


class CohortError(ProxyError):
    """A cohort could not be made of what was downloaded; the text is fit for operators."""


class BodyBroken(CohortError):
    """The body is not a cohort, or not the one that was asked for."""


class IndexBroken(CohortError):
    """An index file that cannot be used."""


class NoRoom(CohortError):
    """The disk took no more, or there is no place to write to."""


class BuilderDied(CohortError):
    """The building process ended before it was done."""


class StoreError(ProxyError):
    """The data directory did not give what was asked; the text is fit for operators."""


class Damaged(StoreError):
    """A file is missing, cut or changed."""


class Hindered(StoreError):
    """The data directory cannot be used or written now; `reason` is a word of a closed set."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class ArchiveError(ProxyError):
    """A snapshot file was refused, or cannot be made; `reason` is a word of a closed set."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class BadRequest(ProxyError):
    """A client's mistake, with the status to answer and a reason fit for the client."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
