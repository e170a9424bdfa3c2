"""Published layouts that the xcodec2 family reads, one file for each system."""
