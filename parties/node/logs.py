"""A node's log, on stderr: lines for people or one JSON object a line. Nothing secret is ever handed to it."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger("comity")


def fields(**values: object) -> dict[str, Any]:
    """For `extra=`: what a record says beside its message."""
    return {"fields": values}


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC)
        said: dict[str, object] = getattr(record, "fields", {})
        rest = "".join(f" {key}={value}" for key, value in said.items())
        return f"{time:%Y-%m-%d %H:%M:%S}Z {record.levelname.lower():7} {record.getMessage()}{rest}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC)
        said: dict[str, object] = getattr(record, "fields", {})
        head = {"time": f"{time:%Y-%m-%dT%H:%M:%S.%f}Z", "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps(head | said, default=str)


def start(format_: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if format_ == "json" else _Text())
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def unexpected(error: BaseException) -> str:
    """An error nobody foresaw: its kind and place, without its text, which could quote data."""
    return f"{type(error).__name__} at\n{''.join(traceback.format_tb(error.__traceback__))}"
