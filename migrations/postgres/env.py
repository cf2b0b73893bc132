"""How alembic reaches PostgreSQL: over the connection that `storage.postgres.schema` hands it."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection)
with context.begin_transaction():
    context.run_migrations()
