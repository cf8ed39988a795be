"""Unit tests that need no cluster: ``python3 -m unittest discover -s tests/cluster``."""
