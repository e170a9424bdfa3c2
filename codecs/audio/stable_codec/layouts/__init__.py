"""Published layouts that the stable_codec family reads, one file for each system."""
