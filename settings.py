"""The one place that reads the environment.

`load()` turns environment variables into one frozen `Settings`. A wrong or missing value raises
`SettingsError`, whose text is one line that names the variable; every process shows that line and
stops. Units stand in the names.
"""

import re
from collections.abc import Mapping, Set
from difflib import get_close_matches
from importlib.util import find_spec
from os import environ
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_type_hints

import msgspec
from msgspec import Meta

MINIMUM_SECRET_BYTES = 32
"""HS256 wants a key at least as long as its digest (RFC 7518, section 3.2)."""

_ORIGIN = re.compile(
    r"https?://(([A-Z0-9._-]+|\[[0-9A-F:.]+\])(:[0-9]{1,5})?|(localhost|127\.0\.0\.1|\[::1\]):\*)/?",
    re.ASCII | re.IGNORECASE,
)

_WEB = ("https://", "http://")
_BEGINNINGS: dict[str, tuple[str, ...]] = {
    "redis_url": ("redis://", "rediss://", "unix://"),
    "broker_url": ("redis://", "rediss://", "unix://"),
    "database_url": ("postgresql+psycopg2://", "postgresql://"),
    "database_migrate_url": ("postgresql+psycopg2://", "postgresql://"),
    "clickhouse_url": ("clickhouse+http://", "clickhouse+native://"),
    "alert_webhook_url": _WEB,
    "heads_webhook_url": _WEB,
    "otel_endpoint": _WEB,
}

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Count = Annotated[int, Meta(ge=1)]
Price = Annotated[float, Meta(ge=0)]
Rate = Annotated[str, Meta(pattern=r"^[0-9]{1,7}(\.[0-9]{1,3})?(:[0-9]{1,7})?$")]
"""Calls a second, and after a colon how many at once; 0 sets no limit."""


class SettingsError(Exception):
    """A variable is missing or wrong; the text is one line for a person."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting; the environment variable of a field is in `VARIABLES`.

    Fields without a default must be given. `docs/configuration.md` lists them all.
    """

    redis_url: str
    """The data Redis: cache and write-ahead log."""
    broker_url: str = ""
    """Celery's Redis; the data Redis if left out."""
    database_url: str
    """PostgreSQL, `postgresql+psycopg2://…`, with the login of this program."""
    database_migrate_url: str = ""
    """Likewise with the login that owns the tables; this program's own if left out."""
    clickhouse_url: str
    """ClickHouse, `clickhouse+http://…` or `clickhouse+native://…`."""
    jwt_secret: str = ""
    """The HS256 keys of tokens, comma-separated, at least 32 bytes each; the first one signs."""
    jwks_file: str = ""
    """A file with the public keys of tokens, a JSON Web Key Set."""
    jwks_url: str = ""
    """The address of such a key set, https or on this machine."""
    jwt_issuer: str = ""
    """If given, a token's `iss` must be this."""
    jwt_audience: str = ""
    """If given, a token's `aud` must hold this."""
    jwt_most_seconds: Annotated[int, Meta(ge=0)] = 0
    """The longest time for which a token may be valid; 0 for any."""
    jwt_leeway_seconds: Annotated[float, Meta(ge=0, le=3_600)] = 60.0
    """How far the clocks of whoever issues tokens may be from this one's."""
    ws_url: str = ""
    """The public address of the WebSocket, shown by `GET /api`."""
    api_url: str = ""
    """The public address of the API, whose pages may use it."""
    origins: str = ""
    """Other origins whose pages may use the API, the event stream and sockets, comma-separated."""
    flower_url: str = ""
    """The public address of Flower, which the console links to."""

    shards: Annotated[int, Meta(ge=1, le=4096)] = 16
    """Pending streams in Redis. Changing it needs empty streams."""
    hot_seconds: Count = 86_400
    """How long a persisted message stays in Redis."""
    hot_page_messages: Count = 1_000
    """How many persisted messages of one thread stay listed in Redis."""
    events_kept: Count = 1_000
    """How many events of a user a client that was away can be told, about."""
    events_seconds: Count = 3_600
    """How long events of a user are kept when nobody listens any more."""
    idempotency_seconds: Count = 86_400
    """How long an `Idempotency-Key` is remembered."""
    session_seconds: Count = 30 * 86_400
    """How long a session's state is valid after each write, where the write does not say."""
    run_state_seconds: Count = 7 * 86_400
    """Likewise the state of an agent's run."""
    checkpoint_every: Count = 10
    """Every n-th version of a run's state stays as a checkpoint."""
    redis_timeout_seconds: Seconds = 0.25
    """Connecting to, and one answer of, the data Redis on the write path."""
    redis_slow_seconds: Seconds = 0.15
    """An answer of the data Redis that took longer is slow; several and a slow probe: an outage."""
    redis_log_share: Annotated[float, Meta(gt=0, le=1)] = 0.6
    """The share of Redis's memory that the log may take before writes go to PostgreSQL."""
    redis_replicas: Annotated[int, Meta(ge=0, le=16)] = 0
    """Replicas of the data Redis that must have a write on disk before it is acknowledged."""
    redis_connections: Count = 64
    """Connections to the data Redis a process may hold."""
    database_timeout_seconds: Seconds = 1.5
    """One PostgreSQL statement on behalf of a request."""
    database_slow_seconds: Seconds = 1.0
    """A statement that took longer is slow; several, then a slow probe: an outage."""
    database_quick_seconds: Seconds = 0.8
    """One PostgreSQL statement that must not keep anybody waiting, as a write beside Redis."""
    database_job_timeout_seconds: Seconds = 20.0
    """One PostgreSQL statement of a background job."""
    database_connections: Count = 8
    """Connections to PostgreSQL a process may hold."""
    clickhouse_timeout_seconds: Seconds = 2.2
    """One ClickHouse answer on behalf of a request."""
    clickhouse_write_timeout_seconds: Seconds = 1.0
    """One insert into ClickHouse on behalf of a request, when nobody else can take it."""
    clickhouse_job_timeout_seconds: Seconds = 60.0
    """One ClickHouse answer of a background job."""
    drain_batch_messages: Count = 1_000
    """Log entries that one transaction carries to PostgreSQL."""
    drain_look_seconds: Seconds = 0.1
    """How often at most a worker drains the pending log by itself; it waits for the first entry."""
    ship_batch_messages: Count = 20_000
    """Rows in one insert into ClickHouse."""
    ship_timeout_seconds: Seconds = 8.0
    """One shipment to ClickHouse; PostgreSQL ends a transaction that idles for 10 s."""
    ship_look_seconds: Seconds = 1.0
    """How often a worker looks at the outbox by itself."""
    recovery_look_seconds: Seconds = 1.0
    """How often a worker looks for what Redis or PostgreSQL missed while they were out."""
    disaster_look_seconds: Seconds = 2.0
    """How often a worker looks whether a recovery was asked for, or left by one that died."""
    stream_idle_seconds: Seconds = 300.0
    """How long after its last chunk a streaming message counts as left by its agent."""
    stream_look_seconds: Seconds = 5.0
    """How often a worker looks for such messages."""
    partition_weeks_ahead: Count = 4
    """Weekly partitions of PostgreSQL that exist before they are needed."""
    archive_after_days: Count = 30
    """Partitions whose messages are all older leave PostgreSQL for ClickHouse alone."""
    archive_grace_seconds: Annotated[float, Meta(ge=0)] = 86_400.0
    """How long PostgreSQL keeps a partition that was archived before it is dropped."""
    archive_most_share: Annotated[float, Meta(gt=0, le=1)] = 0.95
    """The share of all messages that the daily run may archive at once."""
    analytics_cache_seconds: Annotated[float, Meta(ge=0, le=3_600)] = 5.0
    """How long figures of analytics are given again before they are counted anew."""
    redis_price: Price = 10.0
    """What a GB in Redis costs a month, in whichever currency."""
    postgresql_price: Price = 0.12
    """Likewise on PostgreSQL's disk."""
    clickhouse_price: Price = 0.05
    """Likewise on ClickHouse's."""
    commit_wait_seconds: Seconds = 5.0
    """How long `durability: committed` waits for the PostgreSQL commit."""
    batch_body_bytes: Count = 16 * 1024 * 1024
    """The largest body of a batch post."""
    limit_writes: Rate = "2000:20000"
    """What one user may post, edit and delete, over HTTP and sockets together."""
    limit_reads: Rate = "2000:20000"
    """Likewise what one user may read."""
    limit_searches: Rate = "50:500"
    """Likewise searches."""
    limit_heavy: Rate = "20:200"
    """Likewise batches and figures."""
    limit_unauthenticated: Rate = "50:500"
    """Calls without a valid token from one address."""
    limit_waiting: Annotated[int, Meta(ge=0)] = 256
    """Requests of one caller that wait or are answered in a web process; 0 sets no limit."""
    sockets: Count = 10_000
    """Sockets and event streams that a realtime process holds."""
    sockets_per_user: Count = 100
    """Those of one user among them."""
    socket_frame_bytes: Count = 512 * 1024
    """The largest frame that a socket takes."""
    socket_queue_frames: Count = 4_096
    """Frames that wait for one slow reader before it is cut off."""
    socket_queue_bytes: Count = 8 * 1024 * 1024
    """Bytes of such frames."""
    socket_stalled_seconds: Annotated[float, Meta(gt=2, le=3_600)] = 10.0
    """A reader that takes nothing for so long of what waits for it is cut off."""

    metrics: bool = True
    """Whether processes count and time what they do."""
    metrics_folder: str = ""
    """Where the processes of one machine share their figures; each shows its own without it."""
    metrics_token: str = ""
    """If given, `GET /metrics` may be asked with this instead of an admin's token."""
    metrics_open: bool = False
    """Whether `GET /metrics` answers anybody."""
    no_progress_seconds: Seconds = 10.0
    """A log whose oldest entry is older, or that no worker looked at for so long, stands still."""

    alert_degradation_ratio: Annotated[float, Meta(ge=1)] = 1.5
    """Acknowledgements that take so many times as long as before are an alert."""
    alert_degradation_ms: Annotated[float, Meta(ge=0)] = 5.0
    """And so many milliseconds longer at least."""
    alert_p95_ms: Seconds = 100.0
    """An alert where one acknowledgement in twenty takes longer, in milliseconds."""
    alert_backlog_seconds: Seconds = 30.0
    """An alert where something waits longer in the log or in the outbox."""
    alert_refusals: Count = 100
    """An alert where more calls a minute are refused for their credential, or for what it lacks."""
    alert_webhook_url: str = ""
    """Where alerts are posted when they are raised and cleared."""
    alert_webhook_secret: str = ""
    """What such posts are signed with, at least 32 bytes."""
    heads_webhook_url: str = ""
    """Where the heads of hash chains are posted every hour, signed likewise."""
    slow_query_seconds: Seconds = 0.5
    """A statement of any tier that took longer is logged."""
    otel_endpoint: str = ""
    """The OpenTelemetry collector that traces are sent to by OTLP over HTTP; none without it."""

    drills: bool = False
    """Whether this system may be hurt on purpose. Never where real messages are kept."""
    faultpoints: str = ""
    """Where processes die, stop, fail or wait in a drill (see
    `storage/resilience/faultpoints.py`)."""

    withheld: ClassVar[frozenset[str]] = frozenset()
    """The fields that this program may not read: see `programs.py`."""

    @property
    def owner_url(self) -> str:
        """PostgreSQL for who owns the tables, as far as this process knows."""
        if "database_migrate_url" in self.withheld:
            return self.database_url
        return self.database_migrate_url or self.database_url

    @property
    def jwt_secrets(self) -> tuple[str, ...]:
        """Every HS256 key of tokens; the first one signs. Where a part is too short to be a key the
        comma is one of a phrase, and where all are long enough it may be."""
        parts = [part.strip() for part in self.jwt_secret.split(",")]
        if len(parts) > 1 and min(len(part.encode()) for part in parts) >= MINIMUM_SECRET_BYTES:
            return (*parts, self.jwt_secret)
        return (self.jwt_secret,) if self.jwt_secret else ()

    @property
    def signing_secret(self) -> str:
        """The one that signs, empty where there is none."""
        return next(iter(self.jwt_secrets), "")

    @property
    def has_key_set(self) -> bool:
        """Whether tokens may be signed with the keys of a key set."""
        return bool(self.jwks_file or self.jwks_url)


VARIABLES = {name: f"THREADKEEP_{name.upper()}" for name in Settings.__struct_fields__} | {
    "redis_url": "REDIS_URL",
    "broker_url": "CELERY_BROKER_URL",
    "database_url": "DATABASE_URL",
    "database_migrate_url": "DATABASE_MIGRATE_URL",
    "clickhouse_url": "CLICKHOUSE_URL",
    "ws_url": "WS_URL",
    "api_url": "API_URL",
    "flower_url": "FLOWER_URL",
    "metrics_folder": "PROMETHEUS_MULTIPROC_DIR",
    "otel_endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
}
"""Field to environment variable."""


OTHERS = frozenset({"THREADKEEP_PIDS"})
"""What `threadkeep up` itself writes beside settings."""

SECRETS = frozenset(
    {VARIABLES[name] for name in Settings.__struct_fields__ if name.endswith(("secret", "token"))}
    | {VARIABLES[f"{name}_url"] for name in ("redis", "broker", "clickhouse")}
    | {"DATABASE_URL", "DATABASE_WEB_URL", "DATABASE_MIGRATE_URL"}
    | {VARIABLES["alert_webhook_url"], VARIABLES["heads_webhook_url"], "FLOWER_BASIC_AUTH"}
)
"""The variables that a file may hold as well, which the variable with `_FILE` behind it names."""

_OF_A_CLUSTER = re.compile(
    r"THREADKEEP_(\w+_)?"
    r"(SERVICE_HOST=|SERVICE_PORT\w*=|PORT=\w+://|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?=).*"
)
"""Kubernetes tells every process of every service, also of one that is called threadkeep."""


def check_names(env: Mapping[str, str]) -> None:
    """Raises `SettingsError` for a variable that nobody reads: a misspelt one has no effect, and
    nothing else would say so."""
    known = {*VARIABLES.values(), *OTHERS, *(f"{name}_FILE" for name in SECRETS)}
    for name, value in env.items():
        if not name.startswith("THREADKEEP_") or name in known or not value:
            continue
        if _OF_A_CLUSTER.fullmatch(f"{name}={value}"):
            continue
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "see docs/configuration.md"
        raise SettingsError(f"{name} is no setting; {hint}")


def with_files(env: Mapping[str, str], names: Set[str] = SECRETS) -> dict[str, str]:
    """The environment with the secrets of these names that files hold in the place of the files'
    names.

    Raises `SettingsError` for a file that cannot be read or is empty, and for a secret given twice.
    """
    found = dict(env)
    for name in names:
        path = found.pop(f"{name}_FILE", "")
        if not path:
            continue
        if found.get(name):
            raise SettingsError(f"{name} and {name}_FILE are both set; take one of them away")
        try:
            found[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise SettingsError(f"{name}_FILE: {path} cannot be read: {why}") from None
        if not found[name]:
            raise SettingsError(f"{name}_FILE: {path} is empty")
    return found


def load(env: Mapping[str, str] | None = None, kind: type[Settings] = Settings) -> Settings:
    """The settings of this process, from `env` or the process's own environment. What their `kind`
    withholds is not needed, and not kept where it is given.

    Raises `SettingsError` for the first variable that is missing, wrong or misspelt.
    """
    source = environ if env is None else env
    check_names(source)
    source = with_files(source, SECRETS - {VARIABLES[name] for name in kind.withheld})
    types = get_type_hints(Settings, include_extras=True)
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        variable = VARIABLES[field.name]
        text = source.get(variable, "")
        if field.name in kind.withheld:
            values[field.name] = ""
        elif text:
            values[field.name] = _convert(variable, text, types[field.name])
        elif field.required:
            raise SettingsError(f"{variable} is not set; see docs/configuration.md")
    values["broker_url"] = values.get("broker_url") or source.get(VARIABLES["redis_url"], "")
    settings = kind(**values)
    _check(settings)
    return settings


def _convert(variable: str, text: str, wanted: Any) -> Any:
    try:
        return msgspec.convert(text, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{variable} is {text!r}: {error}") from None


def _check(settings: Settings) -> None:
    for name, allowed in _BEGINNINGS.items():
        value = "" if name in settings.withheld else getattr(settings, name)
        if value and not value.startswith(allowed):
            raise SettingsError(f"{VARIABLES[name]} must begin with {' or '.join(allowed)}")
    for origin in filter(None, map(str.strip, settings.origins.split(","))):
        if not _ORIGIN.fullmatch(origin):
            # As `null` is, which every page is of that has no origin: it would let all of them in.
            like = "https://chat.example or http://localhost:*"
            why = "cannot be allowed" if origin == "null" else f"is not like {like}"
            raise SettingsError(f"THREADKEEP_ORIGINS: {origin!r} {why}")
    if settings.otel_endpoint and not _can_trace():
        text = "is set, which needs OpenTelemetry: install threadkeep[otel], or take it away"
        raise SettingsError(f"{VARIABLES['otel_endpoint']} {text}")
    for name in ("alert_webhook_url", "heads_webhook_url"):
        if name not in settings.withheld and getattr(settings, name):
            _check_length("alert_webhook_secret", settings.alert_webhook_secret)
    if "jwt_secret" in settings.withheld:
        return
    if settings.jwt_secret:
        _check_length("jwt_secret", settings.jwt_secret)
    elif not settings.has_key_set:
        raise SettingsError("THREADKEEP_JWT_SECRET is not set; see docs/configuration.md")


def _check_length(name: str, secret: str) -> None:
    if len(secret.encode()) < MINIMUM_SECRET_BYTES:
        raise SettingsError(f"{VARIABLES[name]} must have {MINIMUM_SECRET_BYTES} bytes or more")


def _can_trace() -> bool:
    """Whether the packages of the extra `otel` are there."""
    try:
        found = [find_spec(f"opentelemetry.{name}") for name in ("sdk", "exporter.otlp.proto.http")]
    except ModuleNotFoundError:
        return False
    return None not in found
