"""The endpoint: files for TensorFlow Serving, and a local server of the same protocol."""
