"""Code shared by the test suites that run against a real Kubernetes."""
