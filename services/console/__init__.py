"""The console: one web page over all of it, to watch and to act."""
