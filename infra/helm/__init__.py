"""The chart, and what is written from the code into it and its page."""
