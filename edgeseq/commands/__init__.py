"""One module for each command; each exports a click command named ``command``."""
