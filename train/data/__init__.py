"""Where training media come from: sources, crops, order and batches, the same for pictures and sound."""
