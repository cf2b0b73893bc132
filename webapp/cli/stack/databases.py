"""As whom each program logs in to PostgreSQL."""

from collections.abc import Mapping

from webapp.cli.stack.preparation import REALTIME

WEB_PROGRAMS = frozenset({"web", REALTIME})


def login_of(env: Mapping[str, str], program: str) -> dict[str, str]:
    """The DATABASE_URL of a program: web programs have a login of their own, where there is one."""
    web = env.get("DATABASE_WEB_URL") if program in WEB_PROGRAMS else None
    return {"DATABASE_URL": web or env["DATABASE_URL"]}
