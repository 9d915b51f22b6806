"""How Alembic reaches the record store: within the transaction of whoever opens it."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
