"""Plugins as resources."""
