"""Layouts of H-Codec, one file a version."""
