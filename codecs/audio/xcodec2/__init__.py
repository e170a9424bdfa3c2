"""X-codec2 and NeuCodec: one codebook of 65536 entries over convolutional and w2v-BERT 2.0 features side by side."""
