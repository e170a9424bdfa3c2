"""Published layouts that the xqgan family reads, one file for each system."""
