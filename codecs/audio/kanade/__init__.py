"""Kanade and MioCodec: one id for the content of 40 or 80 ms of speech, and a vector for the voice."""
