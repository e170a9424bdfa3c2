"""Publishes tokenizers on a hub, with a card, its figures and samples."""
