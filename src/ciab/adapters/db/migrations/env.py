"""Alembic's entry: run on the connection it is given, in the transaction that is already open."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
