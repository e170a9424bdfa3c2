"""FlexiCodec: speech model, groups of frames, model and published layout."""
