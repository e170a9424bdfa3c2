"""Published layouts that the var family reads, one file a system."""
