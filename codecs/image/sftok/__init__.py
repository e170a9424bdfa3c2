"""SFTok: TiTok's latents by optimal transport, decoded in several steps that reveal the codes of a MaskGIT-VQGAN."""
