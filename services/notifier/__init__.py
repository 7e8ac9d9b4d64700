"""The notifier: one message to people for what they have to know."""
