"""Published layouts that the speechtokenizer family reads, one file a system."""
