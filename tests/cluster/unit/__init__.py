"""Tests of what can be computed without a cluster: ``python3 -m unittest discover -s tests/cluster``."""
