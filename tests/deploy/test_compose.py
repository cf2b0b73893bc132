"""The compose file: its own reader takes it, and every service is bounded and told no more than it
reads."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

import settings

from .conftest import DEPLOY, PAGE, READS, ROOT, Manifest

SERVERS = {"redis", "broker", "postgres", "clickhouse"}


def text_of(compose: Manifest) -> str:
    return yaml.safe_dump(compose)


def test_its_reader_takes_it(compose: Manifest) -> None:
    reader = pytest.importorskip("compose_spec").PyCompose
    assert set(reader.from_yaml(text_of(compose)).service_names()) == {*READS, *SERVERS}
    compose = yaml.safe_load(text_of(compose))
    compose["services"]["web"]["depends_on"]["redis"]["condition"] = "service_helthy"
    with pytest.raises(ValueError, match="depends_on"):
        reader.from_yaml(text_of(compose))


def test_its_reader_takes_what_the_page_adds_to_it(compose: Manifest) -> None:
    reader = pytest.importorskip("compose_spec").PyCompose
    (more, _) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    added = yaml.safe_load(more)
    for one in added["services"].values():
        one["image"] = "threadkeep"
        assert set(one["networks"]) <= set(compose["networks"])
        assert set(one["secrets"]) == set(added["secrets"])
        assert {name.removesuffix("_FILE") for name in one["environment"]} <= settings.SECRETS
    assert set(reader.from_yaml(text_of(added)).service_names()) <= set(compose["services"])


def test_every_service_is_bounded_and_without_rights(compose: Manifest) -> None:
    for name, one in compose["services"].items():
        assert set(one["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert re.search(r":\d+\.\d+(\.\d+)?[\w.-]*$", one["image"]), one["image"]
        assert "/" not in one["image"] or "." not in one["image"].partition("/")[0]
        assert one["logging"]["options"]["max-size"]
        if name != "migrate":
            assert one["restart"] == "unless-stopped"
            assert one["healthcheck"]["test"]
        if name in READS:
            assert one["read_only"]
            assert one["user"] == "10001:10001"


def test_only_the_api_and_the_sockets_are_published_and_to_this_machine(compose: Manifest) -> None:
    published = {
        name: one["ports"] for name, one in compose["services"].items() if one.get("ports")
    }
    assert published == {"web": ["127.0.0.1:8000:8000"], "realtime": ["127.0.0.1:8001:8001"]}
    assert compose["networks"]["inside"] == {"internal": True}
    for name in SERVERS:
        assert compose["services"][name]["networks"] == ["inside"]


def test_each_program_gets_the_secrets_it_reads_as_files(compose: Manifest, secrets: Path) -> None:
    for name, reads in READS.items():
        one = compose["services"][name]
        files = {variable: Path(path).name for variable, path in one["environment"].items()}
        assert set(files) == {f"{variable}_FILE" for variable in reads}
        assert sorted(files.values()) == sorted(one["secrets"])
    for name, place in compose["secrets"].items():
        assert place == {"file": f"secrets/{name}"}
        assert (secrets / name).is_file()
    programs = [compose["services"][name] for name in ("web", "worker", "migrate")]
    assert len({one["environment"]["DATABASE_URL_FILE"] for one in programs}) == 3


def test_all_wait_for_the_migration_and_it_for_the_servers(compose: Manifest) -> None:
    for name in ("web", "realtime", "worker", "beat"):
        waits = compose["services"][name]["depends_on"]
        assert waits["migrate"] == {"condition": "service_completed_successfully"}
    waits = compose["services"]["migrate"]["depends_on"]
    assert set(waits) == {"redis", "postgres", "clickhouse"}
    assert all(one == {"condition": "service_healthy"} for one in waits.values())


def test_secrets_are_random_kept_and_closed_to_others(secrets: Path, tmp_path: Path) -> None:
    before = {file.name: file.read_text() for file in secrets.iterdir()}
    subprocess.run([DEPLOY / "secrets.sh", secrets], check=True, timeout=20)
    assert {file.name: file.read_text() for file in secrets.iterdir()} == before
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in secrets.iterdir()} == {0o444}
    other = tmp_path / "other"
    subprocess.run([DEPLOY / "secrets.sh", other], check=True, timeout=20)
    assert (other / "jwt_secret").read_text() != before["jwt_secret"]
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "deploy/secrets/" in ignored


def test_the_secrets_make_settings_that_are_taken(secrets: Path) -> None:
    names = {
        "REDIS_URL": "redis_url",
        "CELERY_BROKER_URL": "broker_url",
        "DATABASE_URL": "database_url_web",
        "CLICKHOUSE_URL": "clickhouse_url",
        "THREADKEEP_JWT_SECRET": "jwt_secret",
        "THREADKEEP_METRICS_TOKEN": "metrics_token",
    }
    env = {f"{variable}_FILE": str(secrets / name) for variable, name in names.items()}
    loaded = settings.load(env)
    assert loaded.redis_url.endswith("@redis:6379/0")
    assert loaded.jwt_secret == (secrets / "jwt_secret").read_text().strip()
