"""COMiT: the model, its transformer, crops and published layout."""
