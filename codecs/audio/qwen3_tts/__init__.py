"""The 12.5 Hz tokenizer of Qwen3-TTS: Mimi's encoder, and a causal decoder with separate code vectors."""
