"""What networks say of the prepared photo and the body fitted to it: depth of front and back, and light."""
