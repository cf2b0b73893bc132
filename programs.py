"""Which secrets each program reads. `threadkeep up` starts it with these and no others, and it can
read no others where somebody else starts it: whoever gets into one program has not got what
belongs to another."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import settings
from settings import SECRETS, VARIABLES, Settings

TIERS = frozenset({"REDIS_URL", "CELERY_BROKER_URL", "DATABASE_URL", "CLICKHOUSE_URL"})
ALERTS = frozenset({"THREADKEEP_ALERT_WEBHOOK_URL", "THREADKEEP_ALERT_WEBHOOK_SECRET"})
HEADS = frozenset({"THREADKEEP_HEADS_WEBHOOK_URL"})
TOKENS = frozenset({"THREADKEEP_JWT_SECRET", "THREADKEEP_METRICS_TOKEN"})

READ: Mapping[str, frozenset[str]] = {
    "web": TIERS | TOKENS | ALERTS,
    # The others evaluate alerts.
    "realtime": TIERS | TOKENS,
    # It answers nobody, so it verifies nobody's token.
    "worker": TIERS | ALERTS | HEADS,
    # It sends wake-ups, and no more.
    "beat": frozenset({"CELERY_BROKER_URL"}),
    "flower": frozenset({"CELERY_BROKER_URL", "FLOWER_BASIC_AUTH"}),
}
"""The secrets of each program of the Procfile, by their variables."""

OF_LIBRARIES: Mapping[str, frozenset[str]] = {
    # libpq's, which the processes that open connections to PostgreSQL heed.
    "DATABASE_URL": frozenset({"PGPASSWORD", "PGPASSFILE", "PGSSLKEY", "PGSERVICEFILE"}),
    # OpenTelemetry's, whose headers may hold a key. Who reaches the tiers sends traces of it.
    "REDIS_URL": frozenset({"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"}),
}
"""Secrets that a library reads itself, by the variable with which it comes into use."""


def environment(program: str, env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program: that of the stack without the secrets of others. A program
    that the table does not name gets none."""
    read = READ.get(program, frozenset())
    withheld = SECRETS - read
    for variable, names in OF_LIBRARIES.items():
        if variable in withheld:
            withheld |= names
    withheld |= {f"{name}_FILE" for name in withheld}
    return {name: value for name, value in env.items() if name not in withheld}


def load(program: str, env: Mapping[str, str] | None = None) -> Settings:
    """The settings of a program. To read a secret that is another's raises `RuntimeError`.

    Raises `SettingsError` as `settings.load` does.
    """
    return settings.load(env, _kind(program))


@cache
def _kind(program: str) -> type[Settings]:
    """The settings without the secrets that a program does not read."""
    withheld: dict[str, Any] = {
        field: property(_refusal(program, variable))
        for field, variable in VARIABLES.items()
        if variable in SECRETS - READ[program]
    }
    make: Callable[..., type[Settings]] = type(Settings)
    withheld["withheld"] = frozenset(withheld)
    return make("Settings", (Settings,), withheld, frozen=True)


def _refusal(program: str, variable: str) -> Callable[[Settings], Any]:
    def refuse(_: Settings) -> Any:
        raise RuntimeError(f"the program {program} may not read {variable}")

    return refuse
