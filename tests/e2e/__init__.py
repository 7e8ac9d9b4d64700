"""The whole embedded stack, from load event to model."""
