"""The search for better settings, on one machine or many: `python -m tuner.search`."""
