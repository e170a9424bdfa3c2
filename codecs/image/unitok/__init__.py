"""UniTok: one set of ids for generation and understanding, from several codebooks in parallel."""
