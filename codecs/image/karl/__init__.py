"""KARL: as many tokens as the wanted quality needs, chosen in one pass."""
