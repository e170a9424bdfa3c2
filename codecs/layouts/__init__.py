"""What layouts are written with: key maps, strict configs, readers of weight files."""
