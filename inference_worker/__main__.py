"""`python -m inference_worker`: a worker. With `models` as first argument: the weights it would load."""

import sys

if __name__ == "__main__":
    # an engine is the only one that imports what models need
    if sys.argv[1:2] == ["engine"]:
        from inference_worker import boot

        sys.exit(boot.main(sys.argv[2:]))
    from inference_worker import catalog, cli

    if sys.argv[1:2] == ["models"]:
        sys.exit(catalog.main(sys.argv[2:]))
    sys.exit(cli.main())
