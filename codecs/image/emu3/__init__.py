"""Emu3's vision tokenizer: a VQGAN with four-frame time compression and a decoder under MoVQ's spatial norm."""
