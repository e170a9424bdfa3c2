"""What is published, and what is done with it: registry, hub, foreign checkpoints, evaluation, corpora, demo."""
