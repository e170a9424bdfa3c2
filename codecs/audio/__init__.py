"""Audio families, one file each."""
