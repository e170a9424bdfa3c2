"""FlexTok: a picture as an ordered sequence of tokens, coarse to fine; any prefix decodes, by a rectified flow."""
