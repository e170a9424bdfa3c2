"""UniWeTok: 64 tokens of 128 bits for a 256 x 256 picture, from convolutions with attention at the coarsest grid."""
