"""`penstock demo`: one scene a module, played on a stage that is cleared away afterwards."""
