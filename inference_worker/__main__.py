"""`python -m inference_worker`."""

import sys

from inference_worker.cli import main

if __name__ == "__main__":
    sys.exit(main())
