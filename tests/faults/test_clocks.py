"""Clocks that jump: ids, versions and lifetimes go on as if they had not."""

import time
from pathlib import Path

import jwt
import libfaketime
import pytest

from selftest.bed import stack
from selftest.bed.stack import Testbed
from selftest.load.traffic import Load
from settings import Settings
from support.faults.trial import trial

pytestmark = pytest.mark.extensive

HOUR_SECONDS = 3600
LIBRARY = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"


def issue(settings: Settings, user: str) -> str:
    """A token that is good whichever way the clock has jumped."""
    now = int(time.time())
    claims = {"sub": user, "iat": now - 3 * HOUR_SECONDS, "exp": now + 3 * HOUR_SECONDS}
    return jwt.encode(claims, settings.jwt_secret, algorithm="HS256")


@pytest.mark.parametrize("jumps", [(-HOUR_SECONDS, 0), (HOUR_SECONDS, 0)])
def test_f44_the_clock_of_every_program_jumps_by_an_hour(
    tmp_path: Path, jumps: tuple[int, ...]
) -> None:
    """Web, worker and beat jump; their servers do not. Order, versions and lists stay right."""
    offset = tmp_path / "offset"
    offset.write_text("+0")
    variables = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        # Only the clock on the wall jumps.
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }
    with stack.testbed(_folder(tmp_path), issue, **variables) as bed:
        with trial(bed, tmp_path, Load(writers=12, readers=4, users=6)) as running:
            for jump in jumps:
                offset.write_text(f"{jump:+d}")
                began = running.now()
                running.wait_for_more(200)
                assert running.since(began).unavailable == 0
        assert _is_sane(bed)


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bed"
    folder.mkdir()
    return folder


def _is_sane(bed: Testbed) -> bool:
    """Whether nothing hot outlives its lifetime by the hour."""
    client = bed.services.tiers.redis_client
    lifetimes = [client.ttl(name) for name in client.scan_iter(match="message:active:*")]
    return bool(lifetimes) and max(lifetimes) <= bed.settings.hot_seconds
