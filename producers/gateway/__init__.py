"""The HTTP gateway: one more caller, that speaks for others. No route knows Redis, none runs a model."""
