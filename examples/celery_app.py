"""Celery: one client in each process of the pool; jobs are named after tasks, so one tried again joins its job."""

import os
from typing import Any

from celery import Celery, Task
from celery.signals import worker_process_init, worker_process_shutdown

from rpc import Client, QueueFull

app = Celery("shouts", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_BROKER_URL"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)

clients: dict[str, Client] = {}


@worker_process_init.connect
def start(**_: Any) -> None:
    """Make the client where it is used: after the pool has forked."""
    clients["models"] = Client()


@worker_process_shutdown.connect
def stop(**_: Any) -> None:
    """Close it."""
    clients.pop("models").close()


@app.task(bind=True, max_retries=20)
def shout(self: Task, text: str) -> str:
    """Ask and wait; a full queue has the task tried again."""
    client = clients.get("models") or clients.setdefault("models", Client())
    try:
        result = client.call("upper", "upper", [text], timeout_s=60, job_id=self.request.id)
    except QueueFull as full:
        raise self.retry(exc=full, countdown=full.retry_after_s * 2**self.request.retries) from full
    answer: str = result["texts"][0]
    return answer
