"""KARL: the number of tokens that a target quality needs, chosen in one pass."""
