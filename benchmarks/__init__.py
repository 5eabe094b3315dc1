"""Measurements of speed and memory, printed as Markdown: `make bench`."""
