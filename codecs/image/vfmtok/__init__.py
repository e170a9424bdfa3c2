"""VFMTok: tokens that sample frozen DINOv2 features at learned places."""
