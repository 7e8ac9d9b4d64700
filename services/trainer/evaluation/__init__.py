"""How good a model is, and what it goes by: numbers, terms and pictures."""
