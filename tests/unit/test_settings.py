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
        ("THREADKEEP_JWKS_ADDRESS", "THREADKEEP_JWKS_"),
        ("THREADKEEP_JWT_SECRET_FILES", "THREADKEEP_JWT_SECRET_FILE"),
        ("THREADKEEP_SHARDS_FILE", "THREADKEEP_"),
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


def test_a_key_set_does_without_a_secret() -> None:
    without = {name: value for name, value in COMPLETE.items() if name != "THREADKEEP_JWT_SECRET"}
    loaded = settings.load(without | {"THREADKEEP_JWKS_URL": "https://login.example/keys"})
    assert (loaded.jwt_secrets, loaded.has_key_set, loaded.signing_secret) == ((), True, "")


@pytest.mark.parametrize(
    ("given", "secrets"),
    [
        ("n" * 40, ["n" * 40]),
        (f"{'n' * 40},{'o' * 32}", ["n" * 40, "o" * 32]),
        (f"{'n' * 40} , {'o' * 32}", ["n" * 40, "o" * 32]),
        # A comma in a phrase, which is one secret.
        (COMPLETE["THREADKEEP_JWT_SECRET"], [COMPLETE["THREADKEEP_JWT_SECRET"]]),
    ],
)
def test_several_secrets_verify_and_the_first_signs(given: str, secrets: list[str]) -> None:
    loaded = settings.load(COMPLETE | {"THREADKEEP_JWT_SECRET": given})
    assert [one for one in loaded.jwt_secrets if one in secrets] == secrets
    # Whoever took a list for one secret is understood as well.
    assert given in loaded.jwt_secrets
    assert loaded.signing_secret == secrets[0]


SECRETS = sorted(settings.SECRETS)


def test_every_secret_may_be_in_a_file() -> None:
    assert set(COMPLETE) < set(SECRETS)
    assert {"CELERY_BROKER_URL", "FLOWER_BASIC_AUTH", "THREADKEEP_METRICS_TOKEN"} < set(SECRETS)
    document = DOCUMENT.read_text(encoding="utf-8")
    assert all(f"`{name}`" in document for name in SECRETS)


@pytest.mark.parametrize("variable", COMPLETE)
def test_a_secret_is_read_from_its_file(variable: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{COMPLETE[variable]}\n", encoding="utf-8")
    env = COMPLETE | {variable: "", f"{variable}_FILE": str(file)}
    assert settings.load(env) == settings.load(COMPLETE)
    assert settings.with_files(env)[variable] == COMPLETE[variable]
    assert f"{variable}_FILE" not in settings.with_files(env)


@pytest.mark.parametrize("variable", SECRETS)
def test_a_file_without_a_secret_is_named(variable: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text(" \n", encoding="utf-8")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path in (tmp_path / "none", tmp_path, empty, binary):
        told = complaint(COMPLETE | {variable: "", f"{variable}_FILE": str(path)})
        assert told.startswith(f"{variable}_FILE")
        assert str(path) in told
        assert "\n" not in told


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    told = complaint(COMPLETE | {"REDIS_URL_FILE": str(tmp_path)})
    assert "REDIS_URL and REDIS_URL_FILE" in told
    assert COMPLETE["REDIS_URL"] not in told


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
