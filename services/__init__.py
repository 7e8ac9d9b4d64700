"""The services. They never import one another; what passes between them are events."""
