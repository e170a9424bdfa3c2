"""DualViTok, the tokenizer of ILLUME+: a coarse grid of semantic ids beside a fine grid of pixel ids."""
