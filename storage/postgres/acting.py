"""In whose name a session or a transaction acts. Row-level security shows a user's rows, and takes
writes of them, only to a transaction that names the user."""

from collections.abc import Iterable

from sqlalchemy import Connection

from storage.postgres.driver import execute

WEB = "threadkeep_web"
"""The role that acts for users: it sees no row but theirs."""
OPERATOR = "threadkeep_operator"
"""The role that acts for admins, in a web process: it sees everybody's rows."""

AS_USER = f"SELECT set_config('role', '{WEB}', true), set_config('app.user_id', :user_id, true)"
AS_USERS = (
    f"SELECT set_config('role', '{WEB}', true),"
    " set_config('app.user_ids', CAST(CAST(:acting_for AS text[]) AS text), true)"
)
"""Stands before the first statement of a transaction, and after a semicolon in one round trip with
it; `acting_for` are the ids of the users."""


def act_for(connection: Connection, user_ids: Iterable[str]) -> None:
    """Has the rest of the caller's transaction act for these users alone."""
    execute(connection, AS_USERS, acting_for=sorted(set(user_ids)))
