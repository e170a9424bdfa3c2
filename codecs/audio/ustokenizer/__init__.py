"""USTokenizer of DualSpeechLM: understanding-driven speech tokens, one codebook over Whisper's features, 25 a second."""
