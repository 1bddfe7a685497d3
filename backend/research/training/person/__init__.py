"""Clothed synthetic people, each from a seed."""

from .person import Person, build_person

__all__ = ["Person", "build_person"]
