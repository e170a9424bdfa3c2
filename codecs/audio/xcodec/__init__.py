"""X-codec: DAC's encoder and a frozen speech model's features behind one residual quantizer."""
