"""Headrace beside others who do the same work, in the same run, on the same machine."""
