"""Image families, one folder each, with the base class and parts that several of them share."""
