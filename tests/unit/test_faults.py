"""What a caller is told is true in each way to get there."""

import pytest

from storage.errors import Contended, NoTierAvailable, TierError, TierUnavailable
from webapp.http.errors import fault_of


@pytest.mark.parametrize(
    ("error", "told", "untrue"),
    [
        (TierUnavailable("redis", "reset"), "redis does not answer", "busy"),
        (
            NoTierAvailable([TierUnavailable("redis", "a"), TierUnavailable("postgresql", "b")]),
            "redis and postgresql do not answer",
            "busy",
        ),
        (TierUnavailable("postgresql", "lock", passing=True), "postgresql is busy", "not answer"),
        (Contended("redis", "too many writers in one thread"), "too many writers", "not answer"),
    ],
)
def test_a_tier_that_answers_is_not_said_to_be_out(
    error: TierError, told: str, untrue: str
) -> None:
    fault = fault_of(error, "id")
    assert (fault.status, fault.code) == (503, "storage_unavailable")
    assert told in fault.detail
    assert untrue not in fault.detail
    assert "temporary" in fault.detail
