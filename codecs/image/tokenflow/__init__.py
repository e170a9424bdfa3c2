"""TokenFlow: one id for what a picture means and how it looks, at several scales."""
