"""The VQGAN line with multi-scale residual tokens: VAR and Infinity."""
