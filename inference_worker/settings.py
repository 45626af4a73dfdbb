"""How a worker works. Read from the environment and the command line, checked once before anything is loaded."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, ValidationInfo, field_validator

from inference_worker.addresses import Prefix
from inference_worker.engine_plan import SHARED, EngineSpec, plan_engines
from rpc.deliveries import Limits
from rpc.settings import SettingError, complaint, read_environment

Device = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]

FAMILIES = ("whisper", "siglip", "bge-m3", "yunet")
"""What a worker serves that is not told what to serve."""

EVERY_MODEL = "*"

ENVIRONMENT = {
    "models": ("PENSTOCK_MODELS",),
    "device": ("PENSTOCK_DEVICE",),
    "devices": ("PENSTOCK_DEVICES",),
    "engines": ("PENSTOCK_ENGINES",),
    "torch_threads": ("PENSTOCK_TORCH_THREADS",),
    "prepare_threads": ("PENSTOCK_PREPARE_THREADS",),
    "batch_size": ("PENSTOCK_BATCH_SIZE", "BATCH_SIZE"),
    "asr_model": ("ASR_MODEL",),
    "vision_model": ("VISION_MODEL_NAME",),
    "load_bge_m3": ("LOAD_BGE_M3",),
    "feature_face": ("FEATURE_FACE",),
    "models_dir": ("PENSTOCK_MODELS_DIR", "MODELS_DIR"),
    "standins": ("PENSTOCK_STANDINS",),
    "cache_dir": ("PENSTOCK_CACHE_DIR",),
    "dtype": ("PENSTOCK_DTYPE",),
    "whisper_compute": ("PENSTOCK_WHISPER_COMPUTE",),
    "memory_check": ("PENSTOCK_MEMORY_CHECK",),
    "max_image_pixels": ("PENSTOCK_MAX_IMAGE_PIXELS",),
    "max_audio_s": ("PENSTOCK_MAX_AUDIO_S",),
    "media_root": ("PENSTOCK_MEDIA_ROOT",),
    "media_prefixes": ("PENSTOCK_MEDIA_PREFIXES",),
    "media_timeout_s": ("PENSTOCK_MEDIA_TIMEOUT_S",),
    "units_held": ("PENSTOCK_UNITS_HELD",),
    "batch_cost": ("PENSTOCK_BATCH_COST",),
    "linger_ms": ("PENSTOCK_LINGER_MS", "BATCH_TIMEOUT_MS"),
    "bulk_every": ("PENSTOCK_BULK_EVERY",),
    "lease_s": ("PENSTOCK_LEASE_S",),
    "max_deliveries": ("PENSTOCK_MAX_DELIVERIES",),
    "max_jobs": ("PENSTOCK_MAX_JOBS",),
    "drain_grace_s": ("PENSTOCK_DRAIN_GRACE_S",),
    "hang_after_s": ("PENSTOCK_HANG_AFTER_S",),
    "most_failures": ("PENSTOCK_MOST_FAILURES",),
    "most_failed_jobs": ("PENSTOCK_MOST_FAILED_JOBS",),
    "max_text_chars": ("PENSTOCK_MAX_TEXT_CHARS",),
    "server_check": ("PENSTOCK_SERVER_CHECK",),
    "health_host": ("PENSTOCK_HEALTH_HOST",),
    "health_port": ("PENSTOCK_HEALTH_PORT",),
    "log_level": ("PENSTOCK_LOG_LEVEL",),
    "log_format": ("PENSTOCK_LOG_FORMAT",),
}
"""Field -> the environment variables it is read from, the first one set wins."""

SWITCHES = {"1": "all", "true": "all", "yes": "all", "on": "all", "0": "no", "false": "no", "off": "no"}
"""What a variable that is a yes or no elsewhere means for `standins`."""


def _default_cache() -> str:
    """Return where this user's programs keep what they can make again, as the XDG base directory specification says."""
    return str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penstock")


def _check_root(root: str, origin: str) -> None:
    """Refuse a root that is none. Once, at the start: an engine started later does without what has gone since."""
    if root and not Path(root).is_dir():
        raise SettingError(f"{origin}={root!r}: is no directory")
    if root and Path(root).resolve() == Path("/"):
        raise SettingError(f"{origin}={root!r}: would open every file of this machine")


class WorkerSettings(BaseModel):
    """What a worker process is told.

    Attributes:
        models: what to serve: a name, `name=source`, `name=family:source`, `module:Class` or
            `name=module:Class@source`; none of it means the
            four families, less what the flags below switch off.
        asr_model: what `whisper` loads where no source is given: a size, a directory or a hub id.
        vision_model: the same for `siglip`.
        load_bge_m3: whether `bge-m3` is among the models served by default.
        feature_face: whether `yunet` is.
        models_dir: a directory to look for weights in before the hub's cache.
        standins: "all" serves hand-made weights for every family without a source of its own, "missing" for those
            whose weights are not found, "no" for none.
        cache_dir: where stand-ins are kept once they are built.
        dtype: what PyTorch models compute in: "auto" is float32 on the CPU, bfloat16 or float16 on a GPU.
        whisper_compute: what Whisper computes in: "auto" is int8 on the CPU, float16 on a GPU.
        memory_check: whether models that do not fit into free memory are refused before any is loaded.
        max_image_pixels: the largest picture accepted, in pixels.
        max_audio_s: the longest recording accepted, in seconds.
        media_root: the directory under which files are opened that jobs refer to; "" opens none.
        media_prefixes: what URLs of stores must begin with to be opened, such as `s3://videos/`; none opens none.
        media_timeout_s: how long a store may take to give a file.
        device: "auto", "cpu", "cuda" or "cuda:1".
        devices: several of them, by commas: an engine process for each, all under one supervisor.
        engines: which models share an engine process of each device: "shared" puts all of them into one, "per-model"
            gives each its own, "whisper;siglip,yunet" names groups.
        torch_threads: threads of one forward pass on the CPU; 0 leaves it to the library.
        prepare_threads: threads that tokenise and decode, of each model.
        batch_size: the most entries read from a lane at once.
        units_held: the most units of a lane held unfinished; what is held is not free for other workers.
        batch_cost: the most cost of one forward pass, padding included: a number for all models, or
            `model=number,...`; a model without one has its own.
        linger_ms: how long a batch smaller than the last one waits for company.
        bulk_every: of so many batches at least one is of the bulk lane.
        lease_s: how long a job may go unrenewed before another worker takes it over.
        max_deliveries: how often a job is handed out before it goes to the dead letter.
        max_jobs: how many jobs a lane holds before submits are refused.
        drain_grace_s: how long running jobs may take to finish after SIGTERM.
        hang_after_s: how long an engine may go without progress before it is killed; longer than the longest pass.
        most_failures: how many engines in a row may end without having served a job before the worker gives up.
        most_failed_jobs: after how many failed jobs in a row, none done in between, an engine is started afresh; 0
            never.
        max_text_chars: the longest text accepted, in characters.
        server_check: "strict" refuses a server that evicts jobs or replies when its memory runs out; "warn" says so.
        health_host: address of the health and metrics port.
        health_port: the port; 0 takes a free one.
        log_level: "debug", "info", "warning" or "error".
        log_format: "text" or "json".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = ()
    asr_model: str = ""
    vision_model: str = ""
    load_bge_m3: bool = True
    feature_face: bool = True
    models_dir: str = ""
    standins: Literal["no", "all", "missing"] = "no"
    cache_dir: str = Field(default_factory=_default_cache)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    whisper_compute: str = Field("auto", pattern=r"^[a-z0-9_]+$")
    memory_check: bool = True
    max_image_pixels: int = Field(50_000_000, ge=1)
    max_audio_s: float = Field(14_400.0, gt=0)
    media_root: str = ""
    media_prefixes: tuple[str, ...] = ()
    media_timeout_s: float = Field(60.0, gt=0, le=86_400)
    device: Device = "auto"
    devices: tuple[Device, ...] = ()
    engines: str = SHARED
    torch_threads: int = Field(0, ge=0)
    prepare_threads: int = Field(default_factory=lambda: min(4, os.cpu_count() or 1), ge=1)
    batch_size: int = Field(64, ge=1)
    units_held: int = Field(128, ge=1)
    batch_cost: Mapping[str, int] = Field(default_factory=dict)
    linger_ms: float = Field(2.0, ge=0)
    bulk_every: int = Field(8, ge=2)
    lease_s: float = Field(30.0, ge=0.2)
    max_deliveries: int = Field(3, ge=1)
    max_jobs: int = Field(100_000, ge=1)
    drain_grace_s: float = Field(60.0, ge=0)
    hang_after_s: float = Field(300.0, ge=1)
    most_failures: int = Field(10, ge=1)
    most_failed_jobs: int = Field(100, ge=0)
    max_text_chars: int = Field(100_000, ge=1)
    server_check: Literal["strict", "warn"] = "strict"
    health_host: str = "127.0.0.1"
    health_port: int = Field(9464, ge=0, le=65535)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @field_validator("models", "devices", mode="before")
    @classmethod
    def _split(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            value = tuple(name.strip() for name in value.split(",") if name.strip())
            if not value:
                raise ValueError(f"names no {str(info.field_name).removesuffix('s')}")
        return value

    @field_validator("media_prefixes", mode="before")
    @classmethod
    def _prefixes(cls, value: Any) -> Any:
        texts = value.replace(",", " ").split() if isinstance(value, str) else value
        return tuple(str(Prefix.of(text)) for text in texts)

    @field_validator("standins", mode="before")
    @classmethod
    def _switch(cls, value: Any) -> Any:
        return SWITCHES.get(str(value).lower(), value)

    @field_validator("batch_cost", mode="before")
    @classmethod
    def _costs(cls, value: Any) -> Any:
        if isinstance(value, int | str) and str(value).strip().isdigit():
            return {EVERY_MODEL: value} if int(value) else {}
        if not isinstance(value, str):
            return value
        pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
        if not all(name.strip() and cost.strip().isdigit() for name, _, cost in pairs):
            raise ValueError("must be a number, or model=number,...")
        return {name.strip(): int(cost) for name, _, cost in pairs}

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **given: Any) -> Self:
        """Return the settings of the environment, overridden by those given; raise `SettingError` by name."""
        values, origin = read_environment(ENVIRONMENT, environ)
        chosen = {**values, **{name: value for name, value in given.items() if value is not None}}
        try:
            settings = cls.model_validate(chosen)
        except ValidationError as error:
            raise complaint(error, origin) from None
        _check_root(settings.media_root, origin["media_root"])
        try:
            plan_engines(settings.engines, settings.serving, settings.all_devices)
        except ValueError as error:
            raise SettingError(f"{origin['engines']}={settings.engines!r}: {error}") from None
        return settings

    @property
    def serving(self) -> tuple[str, ...]:
        """What is served, as `--models` would name it: the sources the origin's variables give filled in."""
        flags = {"bge-m3": self.load_bge_m3, "yunet": self.feature_face}
        named = self.models or tuple(name for name in FAMILIES if flags.get(name, True))
        # a stand-in was asked for in place of these
        sources = {} if self.standins == "all" else {"whisper": self.asr_model, "siglip": self.vision_model}
        return tuple(f"{name}={sources[name]}" if sources.get(name) else name for name in named)

    @property
    def all_devices(self) -> tuple[str, ...]:
        """The devices, each of which has its engines."""
        return self.devices or (self.device,)

    @property
    def engine_plan(self) -> tuple[EngineSpec, ...]:
        """What is served by which engine process."""
        return plan_engines(self.engines, self.serving, self.all_devices)

    def budget_of(self, model: str) -> int | None:
        """Return the most cost of a forward pass of a model, or None if it is left to the model."""
        return self.batch_cost.get(model, self.batch_cost.get(EVERY_MODEL))

    @property
    def limits(self) -> Limits:
        """What the workers of a model publish for the scripts to read."""
        return Limits(self.max_jobs, int(self.lease_s * 1000), self.max_deliveries)
