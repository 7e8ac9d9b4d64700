"""A file's bytes as typed rows, each numbered; what can't be read or typed is set apart."""
