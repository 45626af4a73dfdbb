"""How the worker's log lines look: text for people, JSON for machines."""

import json
import logging
import sys
import time

from inference_worker.settings import WorkerSettings


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON text."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(settings: WorkerSettings) -> None:
    """Send the project's log lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if settings.log_format == "json" else text)
    for name in ("inference_worker", "rpc"):
        logger = logging.getLogger(name)
        logger.setLevel(settings.log_level.upper())
        logger.handlers = [handler]
        logger.propagate = False
