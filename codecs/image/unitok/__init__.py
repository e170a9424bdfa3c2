"""UniTok: one set of ids for painting and for understanding, from several codebooks in parallel."""
