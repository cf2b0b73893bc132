"""PostgreSQL and Redis come back from ClickHouse alone, and ClickHouse from PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.disaster.runs import Run
from storage.errors import TierUnavailable
from storage.services import Services
from support import disasters
from support.disasters import carry_on, exported, live_a_little, post, rows
from support.servers import servers
from support.tiers import tiers


@pytest.fixture(scope="module")
def doomed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Servers that nobody else uses."""
    with servers(tmp_path_factory.mktemp("doomed") / "data") as env, tiers(env) as own:
        yield own


@pytest.fixture
def world(doomed: Services) -> Services:
    """Two users with threads of the same names, everything carried on."""
    disasters.begin_anew(doomed)
    live_a_little(doomed, "ann", "bob")
    doomed.audit.note("ann", "thing.made", "thing:1", {"n": 1})
    carry_on(doomed)
    return doomed


def recovered(own: Services, source: str = "clickhouse") -> Run:
    run = own.disaster_recovery.request(source, "an operator")  # type: ignore[arg-type]
    done = own.disaster_recovery.go_on()
    assert done is not None
    assert done.id == run.id
    assert done.state == "complete", done.error
    return done


def test_everything_comes_back_from_clickhouse_alone(world: Services) -> None:
    before, export = rows(world), exported(world)
    assert len(export.splitlines()) == 86
    disasters.lose_postgresql(world)
    disasters.lose_redis(world)
    done = recovered(world)
    assert exported(world) == export
    assert rows(world) == before
    assert done.counts["loaded_again"] == 0
    assert world.disaster_recovery.status().recovery_complete
