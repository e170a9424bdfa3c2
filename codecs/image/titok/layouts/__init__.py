"""Published layouts that the titok family reads, one file for each system."""
