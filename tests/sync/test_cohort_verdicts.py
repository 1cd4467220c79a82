import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import (
    BodyBroken,
    BuilderDied,
    CohortError,
    IndexBroken,
    NoRoom,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamUnavailable,
)
from proxy.settings.schema import Configuration
from proxy.sync.cohort_verdicts import (
    CohortTimings,
    Result,
    cohort_timings_of,
    lost_most,
    weigh,
)


class Version(msgspec.Struct):
    last_modified: int
    size: int = 1


@pytest.mark.parametrize(
    ("built", "here", "sound", "outcome"),
    [
        (Version(5), None, True, "changed"),
        (Version(5), Version(4), True, "changed"),
        (Version(5), Version(5), True, "unchanged"),
        (Version(5), Version(6), True, "older"),
        # What is here is damaged: the same version mends it, an older one does not.
        (Version(5), Version(4), False, "changed"),
        (Version(5), Version(5), False, "changed"),
        (Version(5), Version(6), False, "older"),
        (Version(5, size=10), None, True, "changed"),
        (Version(5, size=11), None, True, "too_large"),
        (Version(5, size=11), Version(4), True, "too_large"),
        # What was let in once is not thrown out when it comes again.
        (Version(5, size=11), Version(5), True, "unchanged"),
        (Version(5, size=0), Version(4, size=9), True, "changed"),
    ],
)
def test_what_was_built_is_weighed_against_what_is_here(
    built: Version, here: Version | None, sound: bool, outcome: str
) -> None:
    result = weigh(built, here, sound=sound, max_size=10)

    assert result.outcome == outcome


@given(st.lists(st.integers(0, 9), min_size=1))
def test_versions_only_go_up(versions: list[int]) -> None:
    here: Version | None = None
    for version in versions:
        if weigh(Version(version), here, sound=True, max_size=10).outcome == "changed":
            assert here is None or version > here.last_modified
            here = Version(version)

    assert here == Version(max(versions))


@pytest.mark.parametrize(
    ("error", "outcome", "detail"),
    [
        (UpstreamUnavailable("answered 503", status=503, retry_after=7.0), "unavailable", "503"),
        (UpstreamUnavailable("answered 429", status=429, retry_after=7.0), "unavailable", "429"),
        (UpstreamGarbled("odd", retry_after=7.0), "garbled", "odd"),
        (UpstreamRefused("answered 401", status=401, retry_after=7.0), "refused", "secret key"),
        (UpstreamRefused("answered 403", status=403, retry_after=7.0), "refused", "secret key"),
        (UpstreamRefused("answered 400", status=400, retry_after=7.0), "refused", "400"),
        (UpstreamRefused("answered 404", status=404, retry_after=7.0), "unknown", "no such"),
        (BodyBroken("cut"), "broken", "cut"),
        (IndexBroken("cut"), "broken", "cut"),
        (NoRoom("full"), "no_room", "full"),
        (BuilderDied("signal 9"), "builder_died", "signal 9"),
    ],
)
def test_every_error_has_its_outcome(
    error: UpstreamError | CohortError, outcome: str, detail: str
) -> None:
    result = Result.of(error)

    assert result.outcome == outcome
    assert detail in result.detail
    assert result.retry_after == (7.0 if isinstance(error, UpstreamError) else None)


@pytest.mark.parametrize(
    ("before", "after", "told"), [(10, 5, False), (10, 4, True), (0, 0, False), (1, 9, False)]
)
def test_losing_more_than_half_is_told(before: int, after: int, told: bool) -> None:
    assert lost_most(before, after) is told


def test_timings_follow_the_settings() -> None:
    timings = cohort_timings_of(
        Configuration(cohort_sync_interval_millis=1500, cohort_wait_millis=250)
    )

    assert (timings.period, timings.wait) == (1.5, 0.25)
    assert timings.longest_pause == 60
    assert CohortTimings(period=300).longest_pause == 300
