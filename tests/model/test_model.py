"""Anything in any order: what was promised is what is there, in the API and in each tier.

A seed is played by hand with `MODEL_SEED=7 MODEL_SECONDS=60 pytest tests/model`.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import settings as configuration
from model.drawing import Op
from model.play import Play
from model.shrinking import smallest
from support.stack.processes import PATIENT, Launched, launched
from support.stack.tiers import tiers
from webapp.http.auth import Tokens
from wiring.process import Services

SEEDS = (1, 2, 3)
SECONDS = 20.0
LONG_SEEDS = (11, 12, 13)
LONG_SECONDS = 180.0
SHRINK_SECONDS = float(os.environ.get("MODEL_SHRINK_SECONDS", "150"))
OPTIONS = {
    "THREADKEEP_STREAM_IDLE_SECONDS": "5",
    "THREADKEEP_ANALYTICS_CACHE_SECONDS": "0.2",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stack is launched, and keeps its logs while it runs."""
    return tmp_path_factory.mktemp("model")


@pytest.fixture(scope="module")
def model_stack(folder: Path) -> Iterator[Launched]:
    """A stack of its own: some operations are about all that there is."""
    with launched(folder, "flower", "realtime", **PATIENT, **OPTIONS) as running:
        yield running


@pytest.fixture(scope="module")
def model_services(model_stack: Launched) -> Iterator[Services]:
    with tiers(model_stack.env) as own:
        yield own


@pytest.fixture
def begin(model_stack: Launched, model_services: Services, tmp_path: Path) -> Callable[[int], Play]:
    tokens = Tokens(configuration.load(model_stack.env))

    def token(user_id: str, *, admin: bool = False) -> str:
        return tokens.issue(user_id, is_admin=admin, ttl_seconds=3600)

    return lambda seed: Play(model_stack, model_services, tmp_path, token, seed)


def last_words(folder: Path) -> str:
    """The ends of the logs of a stack that was launched in a folder."""
    logs = sorted(folder.glob("threadkeep-*/logs/*.log"))
    return "\n".join("\n".join([path.name, *path.read_text().splitlines()[-30:]]) for path in logs)


def played(begin: Callable[[int], Play], seed: int, seconds: float, folder: Path) -> None:
    done: list[Op] = []
    try:
        begin(seed).draw(seconds, done)
    except AssertionError as error:
        # At once, for the search for less of it takes its time.
        print(f"seed {seed}: {error}", *done, last_words(folder), sep="\n", flush=True)
        left, failed_again = smallest(done, lambda ops: _fails(begin(seed), ops), SHRINK_SECONDS)
        part = "the part that matters" if failed_again else "all of it; it did not fail again"
        said = "\n".join(map(str, left))
        raise AssertionError(
            f"seed {seed}, {len(done)} operations: {error}\n{part}:\n{said}"
        ) from None


def _fails(play: Play, ops: list[Op]) -> bool:
    try:
        play.repeat(ops)
    except AssertionError:
        return True
    return False


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "seed", [int(s) for s in os.environ.get("MODEL_SEED", "").split()] or SEEDS
)
def test_anything_in_any_order(begin: Callable[[int], Play], seed: int, folder: Path) -> None:
    played(begin, seed, float(os.environ.get("MODEL_SECONDS", SECONDS)), folder)


@pytest.mark.extensive
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", LONG_SEEDS)
def test_anything_in_any_order_for_long(
    begin: Callable[[int], Play], seed: int, folder: Path
) -> None:
    played(begin, seed, LONG_SECONDS, folder)
