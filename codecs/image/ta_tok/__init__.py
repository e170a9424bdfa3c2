"""TA-Tok: ids of SigLIP 2's features, aligned with a language model's words; decoded to features, not to pixels."""
