"""What several quantizers share: search, codebooks, clustering, rows, bits, usage."""
