"""TiTok and its relatives: a picture as one sequence of latent tokens, through two ViTs."""
