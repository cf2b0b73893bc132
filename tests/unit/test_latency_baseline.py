"""How fast it is now and was before, from plain windows."""

import pytest

from jobs.monitor.alerts.baseline import compare_to_baseline
from storage.telemetry.counts import Counts, Latencies, total
from support.data.windows import NOW, window, windows


def test_now_is_the_last_three_windows_and_before_is_the_median_of_the_rest() -> None:
    found = compare_to_baseline(windows(2, 2, 40, 2, 3, 50, 60, 70), NOW, [])
    assert found.baseline_ms == pytest.approx(2)
    assert found.current_ms == pytest.approx(60)


def test_a_window_that_is_not_over_does_not_count() -> None:
    known = windows(2, 2, 2, 2, 2, 2) | windows(500, until=NOW + 2)
    assert compare_to_baseline(known, NOW, []).current_ms == pytest.approx(2)


def test_what_was_degraded_is_no_measure_of_before() -> None:
    known = windows(2, 2, 2, 60, 60, 60, 60, 60, 60, 60, 60)
    assert compare_to_baseline(known, NOW, []).baseline_ms == pytest.approx(60)
    assert compare_to_baseline(known, NOW, [(NOW - 16, NOW)]).baseline_ms == pytest.approx(2)


def test_windows_weigh_as_many_writes_as_they_are_of() -> None:
    last = int(NOW // 2) - 1
    known = {last - 10: window(100, 5), last - 11: window(90, 4), last - 12: window(2, 40)}
    assert compare_to_baseline(known, NOW, []).baseline_ms == pytest.approx(2)


@pytest.mark.parametrize("writes", [9, 29])
def test_too_few_say_nothing(writes: int) -> None:
    last = int(NOW // 2) - 1
    found = compare_to_baseline(
        {last: window(2, min(writes, 9)), last - 9: window(2, writes)}, NOW, []
    )
    assert (found.baseline_ms, found.current_ms) == (None, None)


def test_what_is_older_than_ten_minutes_is_forgotten() -> None:
    assert compare_to_baseline(windows(2, 2, 2, until=NOW - 620), NOW, []).baseline_ms is None


def test_a_quantile_lies_between_the_bounds_of_its_bucket() -> None:
    all_of_them = total([window(4, 90), window(80, 10)])
    assert 3 < (all_of_them.quantile_ms(0.5) or 0) < 5
    assert 75 < (all_of_them.quantile_ms(0.95) or 0) < 100
    assert window(60_000).quantile_ms(0.5) == 5_000
    assert Counts().quantile_ms(0.5) is None
    assert Counts().average_ms() is None


def test_only_what_grew_is_counted() -> None:
    before = Counts({"writes": 5, "refused": 1})
    assert Counts({"writes": 7, "refused": 1, "persisted": 2}).since(before) == {
        "writes": 2,
        "persisted": 2,
    }


def test_a_call_that_takes_as_long_as_a_bound_counts_below_it() -> None:
    latencies = Latencies()
    latencies.note(0.005)
    latencies.note(9.0)
    told = latencies.totals("redis")
    assert (told["redis:under:4"], told["redis:under:19"], told["redis:calls"]) == (1, 1, 2)
