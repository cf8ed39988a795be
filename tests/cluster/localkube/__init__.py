"""A real Kubernetes on one bare machine, for tests and for people.

``python3 tests/cluster up`` starts it, ``python3 tests/cluster down`` removes every trace of it.
``tests/cluster/README.md`` explains the design; each module here owns one concern of it.
"""
