"""Published layouts that the retok family reads, one file for each system."""
