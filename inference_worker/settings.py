"""How a worker works. Read from the environment and the command line, checked once before anything is loaded."""

import os
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from rpc.consumer import Limits
from rpc.settings import SettingError, complaint, read_environment

ENVIRONMENT = {
    "models": ("PENSTOCK_MODELS",),
    "device": ("PENSTOCK_DEVICE",),
    "torch_threads": ("PENSTOCK_TORCH_THREADS",),
    "prepare_threads": ("PENSTOCK_PREPARE_THREADS",),
    "batch_size": ("PENSTOCK_BATCH_SIZE", "BATCH_SIZE"),
    "units_held": ("PENSTOCK_UNITS_HELD",),
    "batch_cost": ("PENSTOCK_BATCH_COST",),
    "linger_ms": ("PENSTOCK_LINGER_MS", "BATCH_TIMEOUT_MS"),
    "bulk_every": ("PENSTOCK_BULK_EVERY",),
    "lease_s": ("PENSTOCK_LEASE_S",),
    "max_deliveries": ("PENSTOCK_MAX_DELIVERIES",),
    "max_jobs": ("PENSTOCK_MAX_JOBS",),
    "drain_grace_s": ("PENSTOCK_DRAIN_GRACE_S",),
    "max_text_chars": ("PENSTOCK_MAX_TEXT_CHARS",),
    "health_host": ("PENSTOCK_HEALTH_HOST",),
    "health_port": ("PENSTOCK_HEALTH_PORT",),
    "log_level": ("PENSTOCK_LOG_LEVEL",),
    "log_format": ("PENSTOCK_LOG_FORMAT",),
}
"""Field -> the environment variables it is read from, the first one set wins."""


class WorkerSettings(BaseModel):
    """What a worker process is told.

    Attributes:
        models: what to serve: a name, `name=directory-or-hub-id` for an encoder, or `module:Class`.
        device: "auto", "cpu", "cuda" or "cuda:1".
        torch_threads: threads of one forward pass on the CPU; 0 leaves it to PyTorch.
        prepare_threads: threads that tokenise and decode, shared by all models.
        batch_size: the most entries read from a lane at once.
        units_held: the most units of a lane held unfinished; what is held is not free for other workers.
        batch_cost: the most cost of one forward pass, padding included; 0 leaves it to the model.
        linger_ms: how long a batch smaller than the last one waits for company.
        bulk_every: of so many batches at least one is of the bulk lane.
        lease_s: how long a job may go unrenewed before another worker takes it over.
        max_deliveries: how often a job is handed out before it goes to the dead letter.
        max_jobs: how many jobs a lane holds before submits are refused.
        drain_grace_s: how long running jobs may take to finish after SIGTERM.
        max_text_chars: the longest text accepted, in characters.
        health_host: address of the health and metrics port.
        health_port: the port; 0 takes a free one.
        log_level: "debug", "info", "warning" or "error".
        log_format: "text" or "json".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = Field((), min_length=1)
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    torch_threads: int = Field(0, ge=0)
    prepare_threads: int = Field(default_factory=lambda: min(4, os.cpu_count() or 1), ge=1)
    batch_size: int = Field(64, ge=1)
    units_held: int = Field(128, ge=1)
    batch_cost: int = Field(0, ge=0)
    linger_ms: float = Field(2.0, ge=0)
    bulk_every: int = Field(8, ge=2)
    lease_s: float = Field(30.0, ge=0.2)
    max_deliveries: int = Field(3, ge=1)
    max_jobs: int = Field(100_000, ge=1)
    drain_grace_s: float = Field(60.0, ge=0)
    max_text_chars: int = Field(100_000, ge=1)
    health_host: str = "127.0.0.1"
    health_port: int = Field(9464, ge=0, le=65535)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **given: Any) -> Self:
        """Return the settings of the environment, overridden by those given; raise `SettingError` by name."""
        values, origin = read_environment(ENVIRONMENT, environ)
        chosen = {**values, **{name: value for name, value in given.items() if value is not None}}
        if "models" not in chosen:
            raise SettingError("--models (or PENSTOCK_MODELS) is not set: name at least one model, such as minilm")
        try:
            return cls.model_validate(chosen)
        except ValidationError as error:
            raise complaint(error, origin) from None

    @property
    def limits(self) -> Limits:
        """What the workers of a model publish for the scripts to read."""
        return Limits(self.max_jobs, int(self.lease_s * 1000), self.max_deliveries)
