"""The tables. What is queried stands in plain columns; whatever may hold a secret is sealed by the Vault.

Times are text, ISO 8601 in UTC with microseconds, so that they sort; those of spans are seconds since 1970,
so that SQL can add them up. The migrations make these tables; a test compares the two.
"""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    text,
)

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

sandboxes = Table(
    "sandboxes",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("state", String, nullable=False),
    Column("provider", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("ran", Boolean, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("spec", LargeBinary, nullable=False),
    Column("failure", JSON(none_as_null=True)),
    Column("site", JSON(none_as_null=True)),
    Column("image", JSON(none_as_null=True)),
    Column("machine", JSON(none_as_null=True)),
    Column("workspace", String),
    Column("reason", String),
    Column("held", String),
    Column("boot", String),
    Column("release", Boolean, nullable=False, server_default=text("0")),
    Column("recovered_from", String),
    Column("expires_at", String),
    Column("meter", JSON(none_as_null=True)),
    Index("sandboxes_by_age", "created_at", "id"),
    Index("sandboxes_by_state", "state"),
    Index("sandboxes_by_name", "name"),
    Index(
        "sandboxes_live_name",
        "name",
        unique=True,
        sqlite_where=text("state NOT IN ('terminated', 'failed')"),
    ),
    Index("sandboxes_by_workspace", "workspace", "id", sqlite_where=text("workspace IS NOT NULL")),
)

labels = Table(
    "labels",
    metadata,
    Column("sandbox_id", ForeignKey("sandboxes.id"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
    Index("labels_by_value", "key", "value"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", String, primary_key=True),
    Column("digest", String, nullable=False),
    Column("sandbox_id", ForeignKey("sandboxes.id"), nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("sandbox_id", ForeignKey("sandboxes.id"), primary_key=True),
    Column("pairs", LargeBinary, nullable=False),
)

attempts = Table(
    "launch_attempts",
    metadata,
    Column("sandbox_id", ForeignKey("sandboxes.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("backend", String, nullable=False),
    Column("account", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("region", String, nullable=False),
    Column("token", String, nullable=False),
    Column("request", LargeBinary),  # null: discarded
    Column("begun_at", String, nullable=False),
    Column("outcome", String, nullable=False),
    Column("machine_id", String),
    Column("settled_at", String),
)

journal = Table(
    "journal",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("sandbox_id", ForeignKey("sandboxes.id")),  # null: a note about something no sandbox of ours has
    Column("at", String, nullable=False),
    Column("kind", String, nullable=False),  # state, step or note
    Column("subject", String, nullable=False),  # the new state, the step's name, or the note's action
    Column("before", String),  # of a state: the one before
    Column("status", String),  # of a step
    Column("message", String),
    Column("elapsed_ms", Integer),
    Index("journal_by_sandbox", "sandbox_id", "kind", "id"),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("sandbox_id", ForeignKey("sandboxes.id"), nullable=False),
    Column("at", String, nullable=False),
    Column("event_type", String, nullable=False),
    Column("data", JSON, nullable=False),
    Index("events_by_sandbox", "sandbox_id", "id"),
    sqlite_autoincrement=True,
)

spans = Table(
    "spans",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sandbox_id", ForeignKey("sandboxes.id"), nullable=False),
    Column("since", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("usd_hour", Float),  # null: no price was known
    Index("spans_by_sandbox", "sandbox_id", "since", "until", "usd_hour"),
    Index("spans_by_end", "until", "since", "usd_hour"),
)

anchors = Table(
    "anchors",
    metadata,
    Column("name", String, primary_key=True),
    Column("steady", String, nullable=False),
    Column("wall", String, nullable=False),
)
