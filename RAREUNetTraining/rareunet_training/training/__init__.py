"""A training: from its configuration to the bundle."""
