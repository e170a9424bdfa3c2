"""NeMo's audio codecs: HiFi-GAN, its mirror image as encoder, and grouped finite scalar quantization between them."""
