"""One decoder a format, all behind one interface: bytes and headers in, changes or columns of samples out."""
