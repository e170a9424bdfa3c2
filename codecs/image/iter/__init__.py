"""ITER: pictures that were degraded to the ids of clean ones, refined step by step (arXiv 2312.05616)."""
