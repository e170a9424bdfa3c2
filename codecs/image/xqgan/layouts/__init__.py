"""Published layouts that the xqgan family reads, one file a system."""
