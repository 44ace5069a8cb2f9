"""Fetching image URLs from a web that is not trusted."""
