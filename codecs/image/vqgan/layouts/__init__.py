"""Published layouts that the vqgan family reads, one file a system."""
