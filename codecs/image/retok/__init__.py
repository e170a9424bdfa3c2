"""GigaTok and ReTok: a convolutional grid resampled into ordered 1-D tokens; ReTok adds redundant tokens."""
