"""Windows of all processes are one, and a Redis that was out is told afterwards."""

from pathlib import Path

import pytest

from jobs.monitor.windows import KEPT_SECONDS, LATE_WINDOWS, SHOWN_WINDOWS, Windows, window_of
from storage.telemetry.counts import Counts
from support.stack.own_valkey import own_valkey
from wiring.process import Services

NOW = 1_000_000.0


def of(alone: Services) -> Windows:
    return Windows(alone.tiers.redis_client)


def test_processes_add_to_the_same_window(alone: Services) -> None:
    one, two = of(alone), of(alone)
    one.add(NOW, {"writes": 2, "seconds": 0.25})
    two.add(NOW + 1, {"writes": 3, "seconds": 0.5, "refused": 1})
    two.add(NOW + 2, {"writes": 1})
    here = window_of(NOW)
    expected = {here: {"writes": 5, "seconds": 0.75, "refused": 1}, here + 1: {"writes": 1}}
    for reader in (one, two, of(alone)):
        assert reader.recent(NOW + 2) == expected
    name = f"performance:{here}"
    assert 0 < int(alone.tiers.redis_client.ttl(name)) <= KEPT_SECONDS


def test_what_is_added_late_is_seen(alone: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, late = of(alone), of(alone)
    late.add(NOW, {"writes": 1})
    assert reader.recent(NOW + 100)[window_of(NOW)] == {"writes": 1}
    late.add(NOW, {"writes": 4})
    monkeypatch.setattr("jobs.monitor.windows.REREAD_SECONDS", 0.0)
    assert reader.recent(NOW + 100)[window_of(NOW)] == {"writes": 5}


def test_a_window_has_one_turn(alone: Services) -> None:
    one, two = of(alone), of(alone)
    assert [one.take_turn(7), two.take_turn(7), one.take_turn(7), two.take_turn(8)] == [
        True,
        False,
        False,
        True,
    ]


def test_redis_is_told_afterwards_what_was_counted_while_it_was_out(tmp_path: Path) -> None:
    with own_valkey(tmp_path) as first:
        client = first.client(retry_on_timeout=False)
        one, other = Windows(client), Windows(first.client())
        one.add(NOW, {"writes": 1})
        other.add(NOW, {"writes": 10})
        assert one.recent(NOW)[window_of(NOW)]["writes"] == 11
        first.process.kill()
        first.process.wait()
        one.add(NOW, {"writes": 2})
        one.add(NOW + 2, {"writes": 4})
        # It goes by what it read before, and what it counted itself.
        known = {at: counts["writes"] for at, counts in one.recent(NOW + 2).items()}
        assert known == {window_of(NOW): 13, window_of(NOW) + 1: 4}
        port = int(first.url.rsplit(":", 1)[1].split("/")[0])
        with own_valkey(tmp_path, port) as second:
            one.add(NOW + 4, {"writes": 8})
            reader = Windows(second.client())
            told = {at: counts["writes"] for at, counts in reader.recent(NOW + 4).items()}
            # What Redis had said of the disk it still has.
            assert told == {
                window_of(NOW): 13,
                window_of(NOW) + 1: 4,
                window_of(NOW) + 2: 8,
            }


def test_redis_is_told_at_once_only_what_happened(alone: Services) -> None:
    own = of(alone)
    here = window_of(NOW)
    for step in range(LATE_WINDOWS):
        own.add(NOW + 2 * step, {"redis:calls": 1, "postgresql:under:3": 1})
        assert alone.tiers.redis_client.keys("performance:*") == []
    own.add(NOW + 2 * LATE_WINDOWS, {"redis:calls": 1})
    assert own.recent(NOW + 2 * LATE_WINDOWS)[here] == {"redis:calls": 1, "postgresql:under:3": 1}
    own.add(NOW + 60, {"redis:calls": 1})
    own.add(NOW + 62, {"redis:calls": 1, "writes": 1})
    told = own.recent(NOW + 62)
    assert told[here + 30] == {"redis:calls": 1}
    assert told[here + 31] == {"redis:calls": 1, "writes": 1}


def test_what_nobody_can_be_told_is_bounded(alone: Services) -> None:
    alone.tiers.redis_client.close()
    own = Windows(alone.tiers.redis_client)
    for step in range(SHOWN_WINDOWS * 2):
        own._unsent[window_of(NOW) + step] = Counts({"writes": 1})
    own.add(NOW + SHOWN_WINDOWS * 4, {})
    assert len(own._unsent) <= SHOWN_WINDOWS + 1
