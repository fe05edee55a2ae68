"""The server's log on standard error: a sentence, a machine word, ids; no argv, environment or bodies."""

import json
import logging
import logging.config
import sys
from datetime import UTC, datetime
from typing import Literal

from ciab.server.tracing import REQUEST_ID

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CUT_SHORT = "ASGI callable returned without completing"
_CHATTY = ("botocore", "aiobotocore", "asyncssh", "httpx", "httpcore", "websockets", "alembic", "sqlalchemy")


def set_up(level: Literal["debug", "info", "warning", "error"], style: Literal["text", "json"]) -> None:
    """Send everything to standard error in one format, from `level` up; libraries from `warning` up."""
    logging.raiseExceptions = False  # whoever read our errors may be gone: no reason to fail
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else TextLines())
    # some libraries set levels of their own
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or record.name.startswith("ciab"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("ciab").setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", *_CHATTY):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
        logger.setLevel(logging.WARNING)
    # we break answers off and refuse WebSockets on purpose, and have said so ourselves
    logging.getLogger("uvicorn.error").addFilter(lambda record: _CUT_SHORT not in record.msg)


class TextLines(logging.Formatter):
    """One line for people: time, level, sentence, then facts as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and below it the traceback if there is one."""
        facts = " ".join(f"{key}={_word(value)}" for key, value in _facts(record).items())
        line = f"{_time(record)} {record.levelname.lower():7} {record.getMessage()} {facts}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The object."""
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "logger": record.name,
            **_facts(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _facts(record: logging.LogRecord) -> dict[str, object]:
    facts = {key: value for key, value in vars(record).items() if key not in _OWN and value is not None}
    facts.pop("color_message", None)
    if request_id := REQUEST_ID.get():
        facts["request"] = request_id
    return facts


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _word(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and " " not in text and '"' not in text else json.dumps(text)
