"""FocalCodec: the lower layers of WavLM, focal modulation down to a few bits a frame, their signs, and back."""
