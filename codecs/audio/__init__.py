"""Audio tokenizers: one folder for each family; base classes and the codecs without upstream weights are the files beside them."""
