"""The corpus of hostile and odd inputs that ``scripts/try_hostile`` runs; one module an area."""
