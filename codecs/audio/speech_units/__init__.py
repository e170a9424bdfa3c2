"""Discrete speech units: the model and the layout of published k-means centres."""
