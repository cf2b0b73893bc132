"""Settings: what is wrong or missing stops the process with one line that names the variable."""

from pathlib import Path

import pytest

import settings
from settings import SettingsError
from support.stack.environment import COMPLETE

DOCUMENT = Path(settings.__file__).parent / "docs" / "configuration.md"


def complaint(env: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        settings.load(env)
    return str(caught.value)


def test_four_variables_are_enough() -> None:
    loaded = settings.load(COMPLETE)
    assert loaded.redis_url == loaded.broker_url == COMPLETE["REDIS_URL"]
    assert loaded.shards == 16


def test_the_broker_may_have_its_own_server() -> None:
    loaded = settings.load(COMPLETE | {"CELERY_BROKER_URL": "redis://elsewhere:6379/0"})
    assert loaded.broker_url == "redis://elsewhere:6379/0"


@pytest.mark.parametrize("variable", COMPLETE)
@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_missing_variable_is_named(variable: str, how: str) -> None:
    env = COMPLETE | {variable: ""}
    if how == "missing":
        del env[variable]
    assert variable in complaint(env)
    assert "\n" not in complaint(env)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REDIS_URL", "http://127.0.0.1"),
        ("CELERY_BROKER_URL", "amqp://127.0.0.1"),
        ("DATABASE_URL", "mysql://127.0.0.1/d"),
        ("CLICKHOUSE_URL", "http://127.0.0.1:8123"),
        ("THREADKEEP_JWT_SECRET", "x" * 31),
        ("THREADKEEP_SHARDS", "many"),
        ("THREADKEEP_SHARDS", "0"),
        ("THREADKEEP_SHARDS", "4097"),
        ("THREADKEEP_HOT_SECONDS", "-1"),
        ("THREADKEEP_HOT_SECONDS", "1.5"),
        ("THREADKEEP_REDIS_TIMEOUT_SECONDS", "0"),
        ("THREADKEEP_REDIS_TIMEOUT_SECONDS", "nan"),
        ("THREADKEEP_REDIS_TIMEOUT_SECONDS", "inf"),
        ("THREADKEEP_DRILLS", "perhaps"),
        ("THREADKEEP_DRILLS", "2"),
        ("THREADKEEP_JWT_LEEWAY_SECONDS", "-1"),
        ("THREADKEEP_ORIGINS", "null"),
        ("THREADKEEP_ORIGINS", "https://chat.example, null"),
        ("THREADKEEP_ORIGINS", "*"),
        ("THREADKEEP_ORIGINS", "chat.example"),
        ("THREADKEEP_ORIGINS", "https://chat.example/page"),
        ("THREADKEEP_ORIGINS", "https://chat.example:*"),
        ("THREADKEEP_ORIGINS", "https://*.example"),
        ("THREADKEEP_ORIGINS", "http://localhost.example:*"),
        ("THREADKEEP_ORIGINS", "localhost:*"),
        ("THREADKEEP_ORIGINS", "https://straße.example"),
        ("THREADKEEP_ORIGINS", "https://user@chat.example"),
    ],
)
def test_a_wrong_value_is_named(variable: str, value: str) -> None:
    assert variable in complaint(COMPLETE | {variable: value})


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("THREADKEEP_DRILL", "THREADKEEP_DRILLS"),
        ("THREADKEEP_JWT_SECERT", "THREADKEEP_JWT_SECRET"),
        ("THREADKEEP_HOT_SECONDS_", "THREADKEEP_HOT_SECONDS"),
        ("THREADKEEP_REDIS_URL", "REDIS"),
        ("THREADKEEP_JWKS_URL", "THREADKEEP_JWT_SECRET"),
        ("THREADKEEP_JWKS_FILE", "THREADKEEP_JWT_SECRET"),
        ("THREADKEEP_PORT", ""),
    ],
)
def test_a_variable_that_nobody_reads_is_named_with_the_nearest(variable: str, meant: str) -> None:
    told = complaint(COMPLETE | {variable: "8000"})
    assert told.startswith(variable)
    assert meant in told
    assert "8000" not in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("THREADKEEP_PIDS", "web:1"),
        ("THREADKEEP_MISSPELT", ""),
        ("OTHER_VARIABLE", "1"),
        # What Kubernetes says of services that are called threadkeep and threadkeep-web.
        ("THREADKEEP_SERVICE_HOST", "10.0.0.1"),
        ("THREADKEEP_SERVICE_PORT", "8000"),
        ("THREADKEEP_WEB_SERVICE_PORT_HTTP", "8000"),
        ("THREADKEEP_PORT", "tcp://10.0.0.1:8000"),
        ("THREADKEEP_WEB_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
        ("THREADKEEP_PORT_8000_TCP_PROTO", "tcp"),
        ("THREADKEEP_PORT_8000_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_other_variables_are_nobodys_business(variable: str, value: str) -> None:
    assert settings.load(COMPLETE | {variable: value})


@pytest.mark.parametrize(
    "given",
    [
        "https://chat.example",
        "HTTPS://Chat.Example:443",
        "http://localhost:3000/, https://[::1]:8443",
        "http://localhost:*,http://127.0.0.1:*, https://[::1]:*/",
        "",
        " , ",
    ],
)
def test_origins_are_taken_as_browsers_say_them(given: str) -> None:
    assert settings.load(COMPLETE | {"THREADKEEP_ORIGINS": given})


def test_the_secret_never_stands_in_the_complaint() -> None:
    assert "hunter2" not in complaint(COMPLETE | {"THREADKEEP_JWT_SECRET": "hunter2"})


def test_alerts_are_posted_signed_or_not_at_all() -> None:
    posted = COMPLETE | {"THREADKEEP_ALERT_WEBHOOK_URL": "https://alerts.example/hook"}
    assert "THREADKEEP_ALERT_WEBHOOK_SECRET" in complaint(posted)
    secret = {"THREADKEEP_ALERT_WEBHOOK_SECRET": "s" * 32}
    assert settings.load(posted | secret).alert_webhook_url.startswith("https")
    elsewhere = {"THREADKEEP_ALERT_WEBHOOK_URL": "ftp://alerts.example"}
    assert "THREADKEEP_ALERT_WEBHOOK_URL" in complaint(posted | secret | elsewhere)


def test_traces_need_an_address() -> None:
    variable = "OTEL_EXPORTER_OTLP_ENDPOINT"
    assert variable in complaint(COMPLETE | {variable: "collector:4317"})


def test_a_secret_is_measured_in_bytes() -> None:
    assert settings.load(COMPLETE | {"THREADKEEP_JWT_SECRET": "\u00e9" * 16}).jwt_secret


def test_numbers_are_read_as_numbers() -> None:
    loaded = settings.load(
        COMPLETE | {"THREADKEEP_SHARDS": "4", "THREADKEEP_DRAIN_LOOK_SECONDS": "0.5"}
    )
    assert (loaded.shards, loaded.drain_look_seconds) == (4, 0.5)


@pytest.mark.parametrize(
    ("text", "allowed"), [("", False), ("0", False), ("false", False), ("1", True), ("true", True)]
)
def test_drills_are_allowed_only_where_that_is_said(text: str, allowed: bool) -> None:
    assert settings.load(COMPLETE | {"THREADKEEP_DRILLS": text}).drills is allowed


def test_fault_points_are_taken_as_they_are_given() -> None:
    assert settings.load(COMPLETE).faultpoints == ""
    strikes = "drain.after_commit:1:kill"
    assert settings.load(COMPLETE | {"THREADKEEP_FAULTPOINTS": strikes}).faultpoints == strikes


def test_every_field_has_a_variable_of_its_own() -> None:
    assert set(settings.VARIABLES) == set(settings.Settings.__struct_fields__)
    assert len(set(settings.VARIABLES.values())) == len(settings.VARIABLES)


@pytest.mark.parametrize("variable", settings.VARIABLES.values())
def test_every_variable_is_documented(variable: str) -> None:
    assert f"`{variable}`" in DOCUMENT.read_text(encoding="utf-8")
