"""DualViTok, the tokenizer of ILLUME+: a coarse grid of semantic ids and a fine grid of pixel ids."""
