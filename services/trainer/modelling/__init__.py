"""The estimators that a spec may choose, what they take, how they are fitted and stored."""
