"""The trainer: a training dataset from each snapshot, a model version from each dataset."""
