"""The models: a module or a folder for each family, each behind the contract in `base`."""
