"""Code that several quantizers share: nearest-code search, codebooks, clustering, rows, bits, usage."""
