"""The whole application on one machine."""
