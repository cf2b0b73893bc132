"""Token buckets: what a caller may ask for at once, and how fast it comes back."""

import time

import pytest

import settings
from settings import SettingsError
from storage.telemetry.addresses import network_of
from support.stack.environment import COMPLETE
from support.waiting import eventually
from webapp.limits.buckets import Buckets, Rate


def buckets(rate: float, burst: float) -> Buckets:
    return Buckets("write", Rate(rate, burst), lambda: None)


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ("0", None),
        ("0:100", None),
        ("20", Rate(20, 40)),
        ("20:100", Rate(20, 100)),
        ("0.5:3", Rate(0.5, 3)),
        ("0.1", Rate(0.1, 1)),
        ("5:0", Rate(5, 1)),
    ],
)
def test_a_limit_is_a_rate_and_a_burst(given: str, rate: Rate | None) -> None:
    assert Rate.of(given) == rate


@pytest.mark.parametrize("given", ["many", "-1", "1/s", "1:", ":5", "1:2:3", "1e9", "\u0661"])
def test_a_wrong_limit_names_its_variable(given: str) -> None:
    with pytest.raises(SettingsError, match="THREADKEEP_LIMIT_WRITES"):
        settings.load(COMPLETE | {"THREADKEEP_LIMIT_WRITES": given})


def test_after_the_burst_there_is_nothing_left_for_this_caller() -> None:
    slow = buckets(0.01, 3)
    assert [slow.take("a") for _ in range(5)] == [2, 1, 0, -1, -1]
    assert slow.take("b") == 2
    assert 95 <= slow.refusal("a").retry_after <= 100


def test_what_was_taken_comes_back_at_the_rate() -> None:
    quick = buckets(20, 2)
    assert [quick.take("a") for _ in range(3)] == [1, 0, -1]
    time.sleep(0.06)
    assert quick.take("a") == 0
    assert quick.take("a") == -1
    eventually(lambda: list(quick.sweep()) == [])
    assert quick.is_empty
    assert quick.take("a") == 1


def test_what_others_took_may_leave_a_debt() -> None:
    slow = buckets(0.1, 10)
    slow.take("a")
    slow.charge("a", 19)
    assert slow.take("a") == -1
    assert 100 <= slow.refusal("a").retry_after <= 110


def test_the_headers_say_what_is_left_and_when_all_of_it_is_back() -> None:
    some = buckets(2, 10)
    assert dict(some.headers(some.take("a"))) == {
        "RateLimit": '"write";r=9;t=1',
        "RateLimit-Policy": '"write";q=10;w=5',
    }
    assert some.headers(-1)[0] == ("RateLimit", '"write";r=0;t=5')


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a:b", "a:b"),
        ("", ""),
    ],
)
def test_addresses_of_one_network_share_a_bucket(address: str, network: str) -> None:
    assert network_of(address) == network
