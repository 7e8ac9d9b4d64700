"""Bad rows out as a sheet, to be mended by a person, and back as the request of a correction."""
