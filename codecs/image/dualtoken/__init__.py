"""DualToken: one SigLIP tower, two residual codebooks; pixels from its early layers, meaning from its late ones."""
