"""The models: one file per family, each behind the contract in `base`."""
