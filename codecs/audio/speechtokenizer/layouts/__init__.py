"""Published layouts that the speechtokenizer family reads, one file for each system."""
