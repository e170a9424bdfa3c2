"""Paella's VQGAN, stage A of Wuerstchen: mixing blocks without attention, 4 pixels a token, codes of width 4."""
