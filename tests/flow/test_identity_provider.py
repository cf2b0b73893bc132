"""Programs that take the tokens of an identity provider, with their secrets in files: started while
it is down, and kept running while it changes its keys."""

import secrets
from collections.abc import Iterator

import pytest
import requests
from jwt.algorithms import RSAAlgorithm

from support.calls.api import Api, problem
from support.calls.sockets import opened
from support.data.users import fresh_user
from support.stack.identity_provider import (
    OTHER_RSA,
    Provider,
    of_all_kinds,
    published,
    signed,
)
from support.stack.processes import PATIENT, Launched, launched
from support.waiting import eventually

SECRET = secrets.token_urlsafe(48)
METRICS = secrets.token_urlsafe(24)
MADE_FOR = {"iss": "https://login.example/", "aud": "threadkeep"}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    running = Provider()
    running.status = 503
    yield running
    running.end()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[Launched]:
    folder = tmp_path_factory.mktemp("provided")
    files = {"THREADKEEP_JWT_SECRET": SECRET, "THREADKEEP_METRICS_TOKEN": METRICS}
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n", encoding="utf-8")
    options = {f"{name}_FILE": str(folder / name) for name in files}
    options |= {
        "THREADKEEP_JWKS_URL": provider.url,
        "THREADKEEP_JWT_ISSUER": MADE_FOR["iss"],
        "THREADKEEP_JWT_AUDIENCE": MADE_FOR["aud"],
    }
    (folder / "stack").mkdir()
    with launched(folder / "stack", "flower", "beat", "worker", **PATIENT, **options) as stack:
        yield stack


def of_user(programs: Launched, user: str, *named: object, **claims: object) -> Api:
    token = signed(*named, sub=user, **{**MADE_FOR, **claims})  # type: ignore[arg-type]
    return Api(programs.url, token)


def test_programs_start_without_the_provider_and_take_its_tokens_when_it_is_there(
    programs: Launched, provider: Provider
) -> None:
    user = fresh_user()
    api = of_user(programs, user, "RS256", "RS256")
    told = problem(api.get("/api/threads"), 503, "keys_unavailable")
    assert "temporary" in told["detail"]
    provider.status = 200
    eventually(lambda: {api.get("/api").status_code for _ in range(8)} == {200}, 15)
    for algorithm in ("RS256", "ES256", "EdDSA"):
        own = of_user(programs, user, algorithm, algorithm)
        assert {own.send("t", "hello")["user_id"] for _ in range(4)} == {user}
        token = str(own._session.headers["Authorization"]).partition(" ")[2]
        with opened(programs.env["WS_URL"], token) as socket:
            assert socket.receive("authenticated")["user_id"] == user


def test_tokens_for_other_services_are_refused(programs: Launched, provider: Provider) -> None:
    provider.status = 200
    eventually(lambda: of_user(programs, "u", "RS256", "RS256").get("/api").status_code == 200, 15)
    for claims in ({"aud": "other"}, {"iss": "https://other.example/"}, {"aud": []}):
        api = of_user(programs, "u", "RS256", "RS256", **claims)
        problem(api.get("/api/threads"), 401, "invalid_token")


def test_the_provider_changes_its_keys_while_programs_run(
    programs: Launched, provider: Provider
) -> None:
    provider.status = 200
    user = fresh_user()
    old = of_user(programs, user, "RS256", "RS256")
    eventually(lambda: old.get("/api").status_code == 200, 15)
    asked = provider.asked
    provider.keys = [published("next", OTHER_RSA, RSAAlgorithm), *of_all_kinds()]
    new = of_user(programs, user, "next", "RS256", OTHER_RSA)
    # A request with the new key finds it, in each process, a few seconds after the last such one.
    eventually(lambda: {new.get("/api").status_code for _ in range(12)} == {200}, 15)
    assert new.send("t", "hello")["user_id"] == user
    assert old.send("t", "hello")["user_id"] == user
    assert provider.asked - asked <= 12
    provider.status = 500
    assert new.send("t", "while the provider is down")["user_id"] == user


def test_secrets_in_files_are_those_of_the_programs(programs: Launched) -> None:
    assert programs.env["THREADKEEP_JWT_SECRET"] == SECRET
    headers = {"Authorization": f"Bearer {METRICS}"}
    assert requests.get(f"{programs.url}/metrics", headers=headers, timeout=10).ok
