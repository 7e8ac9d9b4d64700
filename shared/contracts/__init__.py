"""What services agree on: events, their envelope, topics and the dataset spec."""
