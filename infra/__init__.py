"""Where Headrace runs: the embedded stack."""
