"""The composition root: settings to parts, signals to the lifecycle, the end to an exit status."""

import argparse
import signal
import sys
from collections.abc import Sequence

from inference_worker import exits, logs
from inference_worker.settings import WorkerSettings
from inference_worker.supervisor import Supervisor
from rpc.settings import RedisSettings, SettingError


def parser() -> argparse.ArgumentParser:
    """Return the command line; what is not given comes from the environment."""
    line = argparse.ArgumentParser("penstock worker", description="Serve models from their Redis streams.")
    line.add_argument(
        "--models",
        help="names, name=source, name=family:source, module:Class or name=module:Class@source, by commas;"
        " else the four families",
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
    line.add_argument("--devices", help="several, by commas: an engine process for each")
    line.add_argument(
        "--engines", help="models in one engine process: shared, per-model, or groups: whisper;siglip,yunet"
    )
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
    """Run a worker; return its exit status, see `exits`."""
    given = vars(parser().parse_args(arguments))
    try:
        redis = RedisSettings.from_env(url=given.pop("redis_url"), prefix=given.pop("prefix"))
        settings = WorkerSettings.from_env(**given)
    except SettingError as error:
        sys.stderr.write(f"penstock worker: {error}\n")
        return exits.WRONG_SETTING
    logs.configure(settings)
    try:
        supervisor = Supervisor(settings, redis)
    except OSError as error:
        place = f"PENSTOCK_HEALTH_HOST={settings.health_host}, PENSTOCK_HEALTH_PORT={settings.health_port}"
        sys.stderr.write(f"penstock worker: {place}: {error}\n")
        return exits.WRONG_SETTING
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: supervisor.stop(number))
    return supervisor.run()
