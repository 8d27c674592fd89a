"""Measurements of Quarry, with their stored results."""
