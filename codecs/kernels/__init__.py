"""Fast inference on CPUs behind ordinary modules: Winograd, tiles, fused and in-place work."""
