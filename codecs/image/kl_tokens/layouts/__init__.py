"""Published layouts that the kl_tokens family reads, one file for each system."""
