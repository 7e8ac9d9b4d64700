"""Build the stand-ins that are missing, and print their variables as lines of an `.env` file."""

import argparse
import sys

from tests.compose.images.build import StandInError, build_all


def main() -> int:
    """Print one line a variable on standard output, what is being built on standard error."""
    parser = argparse.ArgumentParser(prog="python -m tests.compose.images", description=__doc__)
    parser.parse_args()
    try:
        variables = build_all(report=lambda line: print(line, file=sys.stderr, flush=True))
    except StandInError as error:
        print(error, file=sys.stderr)
        return 2
    for name, image in variables.items():
        print(f"{name}={image}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
