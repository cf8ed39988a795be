"""A real Kubernetes cluster on one bare machine, for tests and for interactive use.

``python3 tests/cluster up`` starts it, ``python3 tests/cluster down`` removes it completely.
``tests/cluster/README.md`` explains the design; each module here implements one concern of it.
"""
