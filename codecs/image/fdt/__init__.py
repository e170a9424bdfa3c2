"""Finite discrete tokens: patches of a picture and words of its text, both represented by the vectors of one dictionary."""
