"""Published checkpoints, and what is done with them: registry, loading, saving, evaluation, token corpora, demo."""
