"""VQToken: few tokens for a clip of pictures."""
