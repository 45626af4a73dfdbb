"""How the processes of a worker end: their exit statuses."""

STOPPED = 0
"""Told to stop, and done with what ran."""

FAILED = 1
"""Could not go on, or do what was asked. Of an engine: a stage died, another engine may do better."""

WRONG_SETTING = 2
"""A setting has a value that cannot be used."""

BEYOND_USE = 4
"""Of an engine: it could do nothing but fail its jobs; those in its hands have nothing to do with it."""

NOT_LOADED = 3
"""Of an engine: a model could not be loaded."""
