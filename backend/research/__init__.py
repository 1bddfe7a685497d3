"""Training and evaluation: what makes and measures the product, and does not ship with it."""
