"""Which model version is the champion: the decision, its carrying out, a person's word."""
