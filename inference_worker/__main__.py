"""`python -m inference_worker`: a worker, or with `models` as first argument the weights it would load."""

import sys

from inference_worker import catalog, cli

if __name__ == "__main__":
    if sys.argv[1:2] == ["models"]:
        sys.exit(catalog.main(sys.argv[2:]))
    sys.exit(cli.main())
