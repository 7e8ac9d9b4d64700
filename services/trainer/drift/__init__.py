"""How far a training dataset is from the one that the champion was trained on."""
