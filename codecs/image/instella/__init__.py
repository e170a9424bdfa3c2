"""Instella-T2I's binary autoencoder: a picture of any size as 128 tokens of 64 bits."""
