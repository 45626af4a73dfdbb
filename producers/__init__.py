"""Callers of the models: the command line, and the demo. Knows `rpc`; never the worker's code."""
