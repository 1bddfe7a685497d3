"""Pictures with known answers, and how far the pipeline is from them."""
