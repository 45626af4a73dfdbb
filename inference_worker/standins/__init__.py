"""Hand-made weights for tests, demos and users' own CI: small, built offline, loaded by the real loaders."""
