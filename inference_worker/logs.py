"""How the worker's log lines look: text for people, JSON for machines."""

import json
import logging
import sys
import time

from inference_worker.settings import WorkerSettings
from rpc.log_lines import printable_json, repeated, text_handler


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON text."""
        line: dict[str, str | int] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if repeated(record):
            line["repeated"] = repeated(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return printable_json(json.dumps(line, ensure_ascii=False))


def configure(settings: WorkerSettings) -> None:
    """Send the project's log lines to standard error."""
    handler = text_handler(sys.stderr, "%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    if settings.log_format == "json":
        handler.setFormatter(JsonLines())
    for name in ("inference_worker", "rpc"):
        logger = logging.getLogger(name)
        logger.setLevel(settings.log_level.upper())
        logger.handlers = [handler]
        logger.propagate = False
