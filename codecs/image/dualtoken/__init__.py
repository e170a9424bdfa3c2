"""DualToken: one SigLIP tower, two residual quantizers: pixel codes from its early layers, semantic codes from its late ones."""
