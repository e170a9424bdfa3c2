"""Network blocks that two or more families share unchanged."""
