"""The VQGAN line: convolutional encoder and decoder around any quantizer, one id (or a few) a position of a 2-D grid."""
