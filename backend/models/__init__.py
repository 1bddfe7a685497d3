"""Large models of others: what can be had, where they lie, and how they get there."""
