"""The command `penstock`, as far as it goes without the `cli` extra, and how its errors are told."""

import sys

from producers import extras, relay, worker
from rpc.errors import RpcError
from rpc.log_lines import printable
from rpc.settings import SettingError

FAILED, WRONG_SETTING = 1, 2


def main() -> int:
    """Run the command line; return its exit status.

    0 is well, 1 an error, 2 wrong use, a wrong setting or something not installed, 3 a model that nobody serves.
    """
    try:
        return _run()
    except RpcError as error:
        sys.stderr.write(f"penstock: {error.code}: {printable(str(error))}\n")
        return FAILED
    except SettingError as error:
        sys.stderr.write(f"penstock: {printable(str(error))}\n")
        return WRONG_SETTING


def _run() -> int:
    command, *arguments = sys.argv[1:] or [""]
    # a worker's image needs neither typer nor rich, nor does a relay beside Dramatiq
    if command == "worker":
        worker.become(arguments)
    if command == "models":
        worker.become([command, *arguments])
    if command == "relay":
        return relay.main(arguments)
    missing = extras.complaint("cli")
    if missing:
        sys.stderr.write(f"penstock: {missing}\n")
        return extras.NOT_INSTALLED
    from producers import cli  # noqa: PLC0415 (typer and rich come with an extra)

    return cli.run()


if __name__ == "__main__":
    sys.exit(main())
