"""As whom each program logs in to PostgreSQL."""

from collections.abc import Mapping

from webapp.cli.stack.preparation import REALTIME

WEB_PROGRAMS = frozenset({"web", REALTIME})
OTHER_LOGINS = frozenset({"DATABASE_WEB_URL", "DATABASE_MIGRATE_URL"})
"""The variables of `threadkeep up` that its programs must not have: logins of others."""


def login_of(env: Mapping[str, str], program: str) -> dict[str, str]:
    """The DATABASE_URL of a program: web programs have a login of their own, where there is one."""
    web = env.get("DATABASE_WEB_URL") if program in WEB_PROGRAMS else None
    return {"DATABASE_URL": web or env["DATABASE_URL"]}


def without_logins(env: Mapping[str, str]) -> dict[str, str]:
    """The environment that all programs share."""
    return {name: value for name, value in env.items() if name not in OTHER_LOGINS}
