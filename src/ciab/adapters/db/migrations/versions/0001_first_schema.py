"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table."""
    _make_sandboxes()
    _make_launches()
    _make_histories()


def _make_sandboxes() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "sandboxes",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("provider", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("ran", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("failure", sa.JSON),
        sa.Column("site", sa.JSON),
        sa.Column("image", sa.JSON),
        sa.Column("machine", sa.JSON),
    )
    op.create_index("sandboxes_by_age", "sandboxes", ["created_at", "id"])
    op.create_index("sandboxes_by_state", "sandboxes", ["state"])
    op.create_index("sandboxes_by_name", "sandboxes", ["name"])
    live = sa.text("state NOT IN ('terminated', 'failed')")
    op.create_index("sandboxes_live_name", "sandboxes", ["name"], unique=True, sqlite_where=live)
    op.create_table(
        "labels",
        sa.Column("sandbox_id", sa.String, sa.ForeignKey("sandboxes.id"), primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )
    op.create_index("labels_by_value", "labels", ["key", "value"])
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("sandbox_id", sa.String, sa.ForeignKey("sandboxes.id"), nullable=False),
    )


def _make_launches() -> None:
    op.create_table(
        "keys",
        sa.Column("sandbox_id", sa.String, sa.ForeignKey("sandboxes.id"), primary_key=True),
        sa.Column("pairs", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "launch_attempts",
        sa.Column("sandbox_id", sa.String, sa.ForeignKey("sandboxes.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("backend", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("endpoint", sa.String, nullable=False),
        sa.Column("region", sa.String, nullable=False),
        sa.Column("token", sa.String, nullable=False),
        sa.Column("request", sa.LargeBinary),
        sa.Column("begun_at", sa.String, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("machine_id", sa.String),
        sa.Column("settled_at", sa.String),
    )


def _make_histories() -> None:
    op.create_table(
        "journal",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("sandbox_id", sa.String, sa.ForeignKey("sandboxes.id"), nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("before", sa.String),
        sa.Column("status", sa.String),
        sa.Column("message", sa.String),
        sa.Column("elapsed_ms", sa.Integer),
        sqlite_autoincrement=True,
    )
    op.create_index("journal_by_sandbox", "journal", ["sandbox_id", "kind", "id"])
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("sandbox_id", sa.String, sa.ForeignKey("sandboxes.id"), nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("event_type", sa.String, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("events_by_sandbox", "events", ["sandbox_id", "id"])
