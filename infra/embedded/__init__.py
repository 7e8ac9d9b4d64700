"""The stack without Docker: each server and each service an ordinary child process."""
