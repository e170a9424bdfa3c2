"""H-Codec 1.0, 1.5 and 2.0 (QuarkAudio, UniTok-Audio): two residual quantizers side by side, on waveform and on speech features."""
