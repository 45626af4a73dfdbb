"""The composition root: settings to parts, signals to the lifecycle, the end to an exit status."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from inference_worker import logs
from inference_worker.health import HealthPort
from inference_worker.models.base import Runtime
from inference_worker.registry import RegistryError, Standins, build_all, check_named
from inference_worker.settings import WorkerSettings
from inference_worker.worker import Worker
from rpc.settings import RedisSettings, SettingError

log = logging.getLogger(__name__)

WRONG_SETTING = 2


def parser() -> argparse.ArgumentParser:
    """Return the command line; what is not given comes from the environment."""
    line = argparse.ArgumentParser("penstock worker", description="Serve models from their Redis streams.")
    line.add_argument(
        "--models", help="names, name=source, name=family:source or module:Class, by commas; else the four families"
    )
    line.add_argument(
        "--standins", nargs="?", const="all", help="hand-made weights: all, or missing for those not found"
    )
    line.add_argument("--models-dir", help="where weights lie; MODELS_DIR")
    line.add_argument("--dtype", help="what PyTorch models compute in: auto, float32, bfloat16 or float16")
    line.add_argument("--whisper-compute", help="what Whisper computes in: auto, int8, float16, float32 ...")
    line.add_argument("--redis-url", help="REDIS_URL")
    line.add_argument("--prefix", help="PENSTOCK_PREFIX")
    line.add_argument("--device", help="auto, cpu, cuda or cuda:1")
    line.add_argument("--batch-size", help="most entries read at once")
    line.add_argument("--batch-cost", help="most cost of a forward pass: a number, or model=number,...")
    line.add_argument("--linger-ms", help="longest wait for company")
    line.add_argument("--torch-threads", help="threads of a forward pass on the CPU")
    line.add_argument("--lease-s", help="seconds until an unrenewed job is taken over")
    line.add_argument("--drain-grace-s", help="seconds running jobs get after SIGTERM")
    line.add_argument("--health-port", help="port of /livez, /readyz and /metrics; 0: a free one")
    line.add_argument("--log-format", help="text or json")
    return line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker; return 0 after a clean stop, 1 if it could not go on, 2 on a wrong setting."""
    given = vars(parser().parse_args(arguments))
    try:
        redis = RedisSettings.from_env(url=given.pop("redis_url"), prefix=given.pop("prefix"))
        settings = WorkerSettings.from_env(**given)
        logs.configure(settings)
        standins = Standins(settings.standins, Path(settings.cache_dir).expanduser())
        models = build_all(settings.serving, _runtime(settings), standins)
        check_named(settings.batch_cost, models)
    except (SettingError, RegistryError) as error:
        sys.stderr.write(f"penstock worker: {error}\n")
        return WRONG_SETTING
    worker = Worker(models, settings, redis)
    _stop_on_signals(worker)
    return _serve(worker, settings)


def _runtime(settings: WorkerSettings) -> Runtime:
    # before any library reads them
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # PyTorch keeps what it has prepared for a shape, of the last 1,024 shapes: texts have a shape for every length
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    if settings.torch_threads:
        os.environ["OMP_NUM_THREADS"] = str(settings.torch_threads)
    return Runtime(
        settings.device,
        models_dir=settings.models_dir,
        dtype=settings.dtype,
        whisper_compute=settings.whisper_compute,
        threads=settings.torch_threads,
        max_text_chars=settings.max_text_chars,
        max_image_pixels=settings.max_image_pixels,
        max_audio_s=settings.max_audio_s,
    )


def _serve(worker: Worker, settings: WorkerSettings) -> int:
    try:
        port = HealthPort(worker, worker.metrics.registry, host=settings.health_host, port=settings.health_port)
    except OSError as error:
        sys.stderr.write(f"penstock worker: PENSTOCK_HEALTH_PORT={settings.health_port}: {error}\n")
        return WRONG_SETTING
    worker.health_address = port.address
    port.start()
    try:
        status = worker.run()
    except RegistryError as error:
        log.error("%s", error)  # noqa: TRY400 (the reason is in the message, the traceback is the library's)
        status = 1
    port.stop()
    if worker.stuck():
        # a thread inside a library may never return, and must not keep the process
        sys.stderr.flush()
        os._exit(status)
    return status


def _stop_on_signals(worker: Worker) -> None:
    asked: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        if asked:
            # asked twice: leases lapse, other workers take over
            os._exit(128 + number)
        asked.append(number)
        worker.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
