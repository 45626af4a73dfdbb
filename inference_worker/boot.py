"""An engine's process from its first line to its exit status: `python -m inference_worker engine LINK STAMPS`.

Its supervisor starts it with two inherited descriptors, and sends the rest as the first text over the line.
"""

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from inference_worker import exits, logs
from inference_worker.engine import Engine, Tether
from inference_worker.link import Gone, Link
from inference_worker.models.base import Model, Runtime
from inference_worker.registry import RegistryError, Standins, build_all, check_named
from inference_worker.settings import WorkerSettings
from inference_worker.stamps import Stamps
from rpc.settings import RedisSettings, SettingError

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal a process gets when its parent dies. Linux only; elsewhere the line's end has to do."""


def main(arguments: Sequence[str]) -> int:
    """Run an engine; return its exit status, see `exits`."""
    # ctrl-C reaches the whole group; what is to be done about it is the supervisor's
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    link, stamps = Link.attach(int(arguments[0])), Stamps(int(arguments[1]))
    try:
        _, order = link.hear()
    except Gone:
        return exits.FAILED
    _die_with(order["supervisor"])
    settings = WorkerSettings.model_validate(order["settings"])
    logs.configure(settings)
    try:
        models = _models(settings, order["device"], order["elsewhere"])
        tether = Tether(order["name"], order["health"], stamps, link)
        engine = Engine(models, settings, RedisSettings.model_validate(order["redis"]), tether)
    except (RegistryError, SettingError) as error:
        sys.stderr.write(f"penstock worker: {error}\n")
        return exits.WRONG_SETTING
    _stop_on_signals(engine)
    return _serve(engine)


def _die_with(supervisor: int) -> None:
    """See to it that this process does not outlive the one that renews its leases, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        sys.exit(exits.FAILED)


def _models(settings: WorkerSettings, device: str, elsewhere: Sequence[str]) -> list[Model]:
    standins = Standins(settings.standins, Path(settings.cache_dir).expanduser())
    models = build_all(settings.serving, _runtime(settings, device), standins)
    check_named(settings.batch_cost, models, elsewhere)
    return models


def _runtime(settings: WorkerSettings, device: str) -> Runtime:
    # before any library reads them
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # PyTorch keeps what it has prepared for a shape, of the last 1,024 shapes: texts have a shape for every length
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    if settings.torch_threads:
        os.environ["OMP_NUM_THREADS"] = str(settings.torch_threads)
    return Runtime(
        device,
        models_dir=settings.models_dir,
        dtype=settings.dtype,
        whisper_compute=settings.whisper_compute,
        threads=settings.torch_threads,
        max_text_chars=settings.max_text_chars,
        max_image_pixels=settings.max_image_pixels,
        max_audio_s=settings.max_audio_s,
    )


def _stop_on_signals(engine: Engine) -> None:
    asked: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        # whoever signals the whole group reaches the supervisor too, which passes it on
        if not asked:
            asked.append(number)
            engine.stop()

    signal.signal(signal.SIGTERM, stop)


def _serve(engine: Engine) -> int:
    try:
        status = engine.run()
    except RegistryError as error:
        log.error("%s", error)  # noqa: TRY400 (the reason is in the message, the traceback is the library's)
        status = exits.NOT_LOADED
    if engine.stuck():
        # nor may one inside a library ever return, and it must not keep the process
        sys.stderr.flush()
        os._exit(status)
    return status
