"""Published layouts that the var family reads, one file for each system."""
