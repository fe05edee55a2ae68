"""What a lifecycle needs: how a sandbox is held and why, what it costs, clocks, notes about strangers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add to what is there; every row stays."""
    _extend_sandboxes()
    _let_notes_be_about_no_sandbox()
    _make_ledger()


def _extend_sandboxes() -> None:
    op.add_column("sandboxes", sa.Column("workspace", sa.String))
    op.add_column("sandboxes", sa.Column("reason", sa.String))
    op.add_column("sandboxes", sa.Column("held", sa.String))
    op.add_column("sandboxes", sa.Column("boot", sa.String))
    op.add_column("sandboxes", sa.Column("release", sa.Boolean, nullable=False, server_default=sa.text("0")))
    op.add_column("sandboxes", sa.Column("recovered_from", sa.String))
    op.add_column("sandboxes", sa.Column("expires_at", sa.String))
    op.add_column("sandboxes", sa.Column("meter", sa.JSON))
    op.create_index(
        "sandboxes_by_workspace",
        "sandboxes",
        ["workspace", "id"],
        sqlite_where=sa.text("workspace IS NOT NULL"),
    )


def _let_notes_be_about_no_sandbox() -> None:
    # SQLite cannot take a NOT NULL away: https://www.sqlite.org/lang_altertable.html
    op.create_table(
        "journal_0002",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("sandbox_id", sa.String, sa.ForeignKey("sandboxes.id")),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("before", sa.String),
        sa.Column("status", sa.String),
        sa.Column("message", sa.String),
        sa.Column("elapsed_ms", sa.Integer),
        sqlite_autoincrement=True,
    )
    columns = "id, sandbox_id, at, kind, subject, before, status, message, elapsed_ms"
    op.execute(f"INSERT INTO journal_0002 ({columns}) SELECT {columns} FROM journal")  # noqa: S608  # no input
    op.drop_table("journal")
    op.rename_table("journal_0002", "journal")
    op.create_index("journal_by_sandbox", "journal", ["sandbox_id", "kind", "id"])


def _make_ledger() -> None:
    op.create_table(
        "spans",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("sandbox_id", sa.String, sa.ForeignKey("sandboxes.id"), nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sa.Column("usd_hour", sa.Float),
    )
    op.create_index("spans_by_sandbox", "spans", ["sandbox_id", "since", "until", "usd_hour"])
    op.create_index("spans_by_end", "spans", ["until", "since", "usd_hour"])
    op.create_table(
        "anchors",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("steady", sa.String, nullable=False),
        sa.Column("wall", sa.String, nullable=False),
    )
