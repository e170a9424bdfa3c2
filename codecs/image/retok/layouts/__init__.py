"""Published layouts that the retok family reads, one file a system."""
