"""A stack that these tests may break, with proxies before its servers."""

from collections.abc import Iterator

import pytest

from selftest.bed.stack import Testbed, testbed
from settings import Settings
from webapp.http.auth import Tokens

TOKEN_SECONDS = 3600


def issue(settings: Settings, user_id: str) -> str:
    return Tokens(settings).issue(user_id, is_admin=False, ttl_seconds=TOKEN_SECONDS)


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    # Each verdict waits until ClickHouse has everything.
    soon = {"THREADKEEP_SHIP_LOOK_SECONDS": "0.1"}
    with testbed(tmp_path_factory.mktemp("bed"), issue, **soon) as running:
        yield running
