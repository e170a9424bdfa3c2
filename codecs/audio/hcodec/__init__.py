"""H-Codec 1.0 (QuarkAudio, UniTok-Audio): two residual quantizers side by side, on waveform and on HuBERT features."""
