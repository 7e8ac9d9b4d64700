"""When a spec's schedule fires, what became of its moments, and a person's word about it."""
