"""The command `penstock`, as far as it goes without the `cli` extra."""

import sys

from producers import extras, worker


def main() -> int:
    """Run the command line; return its exit status: 0 well, 1 an error, 2 wrong use or something not installed."""
    command, *arguments = sys.argv[1:] or [""]
    # a worker's image needs neither typer nor rich
    if command == "worker":
        worker.become(arguments)
    if command == "models":
        worker.become([command, *arguments])
    missing = extras.complaint("cli")
    if missing:
        sys.stderr.write(f"penstock: {missing}\n")
        return extras.NOT_INSTALLED
    from producers import cli  # noqa: PLC0415 (typer and rich come with an extra)

    return cli.run()


if __name__ == "__main__":
    sys.exit(main())
