"""Tools for reading foreign checkpoint layouts: key maps, strict config readers, the registry of layouts."""
