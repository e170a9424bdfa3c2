"""WavTokenizer: one codebook over SEANet's frames, and a decoder at frame rate with an inverse Fourier transform."""
