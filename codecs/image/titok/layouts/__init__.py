"""Published layouts that the titok family reads, one file a system."""
