"""When an alert is raised and when it ends, from plain findings."""

import msgspec
import pytest

from jobs.monitor.alerts.baseline import LatencyComparison
from jobs.monitor.alerts.rules import PRIORITIES, Condition, Judgement, judge
from jobs.monitor.alerts.state import (
    KEPT_RECORDS,
    AlertState,
    Change,
    degraded_spans,
    next_state,
)
from jobs.monitor.snapshot import Snapshot
from models.message import Tier
from settings import Settings, load
from storage.availability.progress import Progress
from storage.telemetry.counts import Counts
from support.data.windows import NOW, snapshot, window, without
from support.stack.environment import COMPLETE

OWN: Settings = load(COMPLETE)
MEMORY = Condition("redis_memory", "P1", "much", {"used_percent": 90.0})
GONE = Condition("tier_unavailable", "P0", "gone", {"tier": "redis"}, "redis")
SLOW = Condition("performance_degradation", "P1", "slow", {"baseline_avg_ms": 2.0})


def after(before: AlertState, step: int, *findings: Condition, unknown: str = "") -> Change:
    judgement = Judgement(list(findings), frozenset({unknown}))
    return next_state(before, int(NOW // 2) + step, NOW + 2 * step, judgement)


def run(*rounds: list[Condition]) -> list[Change]:
    """Rounds of evaluations one after the other, from nothing."""
    changes, state = [], AlertState()
    for step, findings in enumerate(rounds):
        changes.append(after(state, step, *findings))
        state = changes[-1].state
    return changes


def test_two_in_a_row_raise_it_and_two_in_a_row_end_it() -> None:
    changes = run([MEMORY], [MEMORY], [], [MEMORY], [], [])
    assert [len(one.raised) for one in changes] == [0, 1, 0, 0, 0, 0]
    assert [len(one.ended) for one in changes] == [0, 0, 0, 0, 0, 1]
    ended = changes[-1].ended[0]
    assert ended.id == changes[1].raised[0].id
    assert ended.until is not None and ended.until > ended.since


def test_one_that_goes_at_once_is_none() -> None:
    assert not any(one.is_new for one in run([MEMORY], [], [MEMORY], [], [MEMORY], []))


def test_a_tier_that_is_out_is_told_at_once() -> None:
    assert [one.key for one in run([GONE])[0].raised] == ["tier_unavailable:redis"]


def test_slowness_is_told_when_all_that_is_averaged_is_from_then() -> None:
    changes = run([SLOW], [SLOW], [SLOW], [SLOW])
    assert [len(one.raised) for one in changes] == [0, 0, 0, 1]


def test_the_first_baseline_is_kept_as_long_as_it_is_slow() -> None:
    later = SLOW._replace(figures={"baseline_avg_ms": 50.0})
    changes = run([SLOW], [later], [later], [later], [later], [], [])
    kept = [one.state.baseline_ms for one in changes]
    assert kept == [2.0] * 6 + [None]


def test_the_span_that_was_slow_is_remembered_ten_minutes() -> None:
    changes = run([SLOW], [SLOW], [SLOW], [SLOW], [], [])
    begins = NOW - 6
    assert degraded_spans(changes[0].state, NOW) == [(begins, NOW)]
    assert changes[-1].state.degraded == [(begins, NOW + 8)]
    assert degraded_spans(changes[-1].state, NOW + 700) == []


def test_figures_are_those_of_the_last_evaluation() -> None:
    worse = MEMORY._replace(figures={"used_percent": 95.0})
    changes = run([MEMORY], [MEMORY], [worse])
    before, now = (one.state.active["redis_memory"] for one in changes[1:])
    assert now.figures == {"used_percent": 95.0}
    assert (now.id, now.since) == (before.id, before.since)


def test_what_nobody_can_judge_stays_as_it_is() -> None:
    state = run([MEMORY], [MEMORY])[-1].state
    for step in range(2, 6):
        state = after(state, step, unknown="redis_memory").state
    assert "redis_memory" in state.active


def test_two_that_judge_the_same_window_come_to_the_same() -> None:
    before = run([MEMORY])[-1].state
    assert after(before, 1, MEMORY) == after(before, 1, MEMORY)


def test_records_wait_for_postgresql_up_to_a_bound() -> None:
    state = AlertState()
    for step in range(KEPT_RECORDS + 20):
        many = [GONE._replace(subject=str(step))] if step % 3 == 0 else []
        state = after(state, step, *many).state
    assert len(state.records) <= KEPT_RECORDS


def test_a_standing_is_read_as_it_was_written() -> None:
    state = run([SLOW], [SLOW, GONE], [SLOW], [SLOW])[-1].state
    assert msgspec.json.decode(msgspec.json.encode(state), type=AlertState) == state


def test_a_figure_that_goes_up_and_down_at_its_bound_is_told_once() -> None:
    """What stands is over when it is clearly below."""
    state, raised, ended = AlertState(), 0, 0
    for step, used in enumerate([81, 81, 79, 79, 79, 81, 81, 79, 79, 73, 73, 71, 71]):
        seen = snapshot(memory_bytes=used, memory_limit_bytes=100)
        judgement = judge(OWN, LatencyComparison(window(2), 2.0), seen, state.active)
        change = next_state(state, int(NOW // 2) + step, NOW + 2 * step, judgement)
        state = change.state
        raised, ended = raised + len(change.raised), ended + len(change.ended)
        assert ("redis_memory" in state.active) == (1 <= step < 12)
    assert (raised, ended) == (1, 1)


def test_lateness_and_slowness_are_eased_where_they_stand() -> None:
    # A window's quantile is as near as its bounds tell.
    own = msgspec.structs.replace(OWN, alert_p95_ms=window(90).quantile_ms(0.95) or 0.0)
    pace = LatencyComparison(window(90), None)
    assert judge(own, pace, snapshot(), ()).findings == []
    assert [one.type for one in judge(own, pace, snapshot(), {"latency_p95"}).findings] == [
        "latency_p95"
    ]
    slow = LatencyComparison(window(6.5), 2.0)
    assert judge(OWN, slow, snapshot()).findings == []
    assert judge(OWN, slow, snapshot(), {"performance_degradation"}).findings != []
    assert (
        judge(
            OWN, LatencyComparison(window(5), 2.0), snapshot(), {"performance_degradation"}
        ).findings
        == []
    )


def types(pace: LatencyComparison | None = None, seen: Snapshot | None = None) -> dict[str, str]:
    found = judge(OWN, pace or LatencyComparison(Counts(), None), seen or snapshot()).findings
    assert all(one.priority in PRIORITIES[one.type] for one in found)
    return {one.key: one.priority for one in found}


def test_nothing_is_wrong_where_all_is_well() -> None:
    assert types() == {}
    assert types(LatencyComparison(window(2), 2.0)) == {}


@pytest.mark.parametrize(
    ("baseline_ms", "current_ms", "is_alert"),
    [(2.0, 6.9, False), (2.0, 7.1, True), (10.0, 14.9, False), (10.0, 15.1, True)],
)
def test_slowness_is_a_share_and_a_step(
    baseline_ms: float, current_ms: float, is_alert: bool
) -> None:
    found = types(LatencyComparison(window(current_ms), baseline_ms))
    assert found == ({"performance_degradation": "P1"} if is_alert else {})


def test_each_figure_beyond_its_bound_is_named() -> None:
    assert types(LatencyComparison(window(200), None)) == {"latency_p95": "P1"}
    assert types(LatencyComparison(window(2, 2000, refused=3), None)) == {
        "persistence_success_rate": "P0"
    }
    assert types(LatencyComparison(window(2, 2000, refused=1), None)) == {}
    assert types(LatencyComparison(window(2, 2000, failed_over=3), None)) == {
        "failover_frequency": "P1"
    }
    assert types(LatencyComparison(window(2, 2000, failed_over=2), None)) == {}
    assert types(LatencyComparison(Counts(refused=1), None)) == {"persistence_success_rate": "P0"}
    assert types(seen=snapshot(data_consistency_score=99.99)) == {"data_consistency_score": "P0"}
    assert types(seen=snapshot(memory_bytes=81, memory_limit_bytes=100)) == {"redis_memory": "P1"}
    assert types(seen=snapshot(memory_bytes=81, memory_limit_bytes=0)) == {}
    assert types(seen=snapshot(dead_letters=1)) == {"dead_letters": "P1"}
    assert types(seen=snapshot(pending=2, oldest_pending_seconds=31)) == {"backlog_age:log": "P1"}
    assert types(seen=snapshot(outbox=2, oldest_outbox_seconds=31)) == {"backlog_age:outbox": "P1"}
    assert types(seen=snapshot(progress=Progress(False, "still"))) == {"no_progress": "P0"}


@pytest.mark.parametrize(
    ("tier", "priority"), [("redis", "P0"), ("postgresql", "P0"), ("clickhouse", "P1")]
)
def test_a_tier_that_is_out_is_named(tier: Tier, priority: str) -> None:
    assert types(seen=without(tier)) == {f"tier_unavailable:{tier}": priority}


def test_what_a_tier_that_is_out_would_say_is_not_known() -> None:
    found = judge(OWN, LatencyComparison(Counts(), None), without("postgresql"))
    assert found.unknown == {"data_consistency_score", "dead_letters", "backlog_age"}


def test_many_refusals_in_a_minute_are_an_alert_of_their_kind() -> None:
    def refused(**counts: float) -> dict[str, str]:
        minute = Counts({f"refusals:{kind}": count for kind, count in counts.items()})
        found = judge(OWN, LatencyComparison(Counts(), None, minute=minute), snapshot()).findings
        return {one.key: one.detail for one in found}

    assert refused(login=100, permission=100) == {}
    assert set(refused(login=101)) == {"refusals:login"}
    both = refused(login=1_000, permission=101)
    assert set(both) == {"refusals:login", "refusals:permission"}
    assert "1000 calls came with no credential" in both["refusals:login"]


def test_refusals_are_over_well_below_their_bound() -> None:
    minute = Counts({"refusals:login": 95})
    pace = LatencyComparison(Counts(), None, minute=minute)
    assert judge(OWN, pace, snapshot(), {"refusals:login"}).findings
    assert judge(OWN, pace, snapshot(), {"refusals:permission"}).findings == []
