"""Finite discrete tokens: patches of a picture and words of its text, both told in the vectors of one dictionary."""
