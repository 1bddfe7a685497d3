"""Exports that need more than numpy: the textured mesh of an avatar."""
