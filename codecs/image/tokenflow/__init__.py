"""TokenFlow: one id for semantics and pixels, at several scales."""
