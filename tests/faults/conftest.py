"""Faults by their number: a real stack, proxies before its servers, writers with a ledger.

Each row breaks one thing while clients write and read, and ends with everything that was
acknowledged held against every tier. The rows share a stack unless they need another.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from selftest.bed.stack import Testbed, testbed
from selftest.load.traffic import Load
from settings import Settings
from support.faults.trial import Trial, trial
from webapp.http.auth import Tokens

TOKEN_SECONDS = 3600


def issue(settings: Settings, user: str) -> str:
    """A token for a user of a stack."""
    return Tokens(settings).issue(user, is_admin=False, ttl_seconds=TOKEN_SECONDS)


@pytest.fixture(scope="package")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    """The stack that the rows break in turn; each leaves it whole."""
    with testbed(tmp_path_factory.mktemp("bed"), issue, has_sockets=True) as running:
        yield running


@pytest.fixture
def own_bed(tmp_path: Path) -> Callable[..., AbstractContextManager[Testbed]]:
    """A stack of the row's own, with settings of its own: `own_bed(THREADKEEP_…="…")`."""

    def start(**variables: str) -> AbstractContextManager[Testbed]:
        folder = tmp_path / "bed"
        folder.mkdir()
        return testbed(folder, issue, **variables)

    return start


@pytest.fixture(scope="module")
def module_bed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., AbstractContextManager[Testbed]]:
    """Likewise one that the rows of a file share."""

    def start(**variables: str) -> AbstractContextManager[Testbed]:
        return testbed(tmp_path_factory.mktemp("module-bed"), issue, **variables)

    return start


@pytest.fixture
def load(bed: Testbed, tmp_path: Path) -> Callable[..., AbstractContextManager[Trial]]:
    """Writers and readers on the shared stack: `with load() as trial: …`."""

    def start(**shape: float) -> AbstractContextManager[Trial]:
        return trial(bed, tmp_path, Load(**({"writers": 12, "readers": 4, "users": 6} | shape)))

    return start
