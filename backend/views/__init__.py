"""Where the other sides come from: imagined views, and what the latent transformer says of all."""
