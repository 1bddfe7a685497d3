"""What the networks learn from: a factory of clothed synthetic people, real scans, and the training loops."""
