"""GigaTok and ReTok: a convolutional grid resampled into ordered 1-D tokens; in ReTok main ones and redundant ones."""
