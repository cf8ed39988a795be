"""Tests of plugins as Kubernetes resources."""
