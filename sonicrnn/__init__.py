"""sonicrnn: one long recording in, more of it out."""

__version__ = "0.1.0"
