"""Whether anything in life can make the system lose, double, leak or wedge: `make chaos`."""
