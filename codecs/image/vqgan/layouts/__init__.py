"""Published layouts that the vqgan family reads, one file for each system."""
