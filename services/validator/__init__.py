"""The audit: a staged slice is checked before anything that people read may change."""
