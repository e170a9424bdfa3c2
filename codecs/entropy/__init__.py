"""Entropy coding of ids: a small model of what ids come next (`prior.py`), and the bytes that it codes them in (`coder.py`)."""
