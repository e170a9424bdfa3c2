"""VidTok: tokenizers of clips of finite scalar codes, causal and not; layers over space and over time by turns."""
