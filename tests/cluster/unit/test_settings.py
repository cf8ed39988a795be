"""Tests of names, folders and addresses."""

import ipaddress
import unittest
import unittest.mock
from pathlib import Path

from localkube import settings
from localkube.settings import Cluster


class Addresses(unittest.TestCase):
    """Division of an address range, and limits of the parameters."""

    def test_default(self):
        """The default addresses are those that documentation and tests name."""
        cluster = Cluster.create()
        self.assertEqual(str(cluster.pods), "198.18.0.0/18")
        self.assertEqual(str(cluster.services), "198.18.64.0/19")
        self.assertEqual(str(cluster.host_address), "198.18.127.253")
        self.assertEqual(cluster.server, "https://198.18.127.254:6443")
        self.assertEqual(cluster.registry, "198.18.127.254:5000")
        self.assertEqual(str(cluster.kubernetes_service), "198.18.64.1")
        self.assertEqual(cluster.folder, Path("/var/lib/dask-operator/dask"))

    def test_parts_are_in_the_range_and_disjoint(self):
        """Pods, Services and the link are inside the range and do not overlap, for every size of the range."""
        for cidr in ("10.0.0.0/8", "198.18.0.0/15", "198.19.128.0/17", "192.168.0.0/22"):
            with self.subTest(cidr):
                cluster = Cluster.create(cidr=cidr)
                link = ipaddress.IPv4Network(f"{cluster.node_address}/30", strict=False)
                parts = (cluster.pods, cluster.services, link)
                for part in parts:
                    self.assertTrue(part.subnet_of(cluster.range))
                self.assertFalse(any(one.overlaps(other) for one in parts for other in parts if one is not other))
                self.assertIn(cluster.host_address, link)
                self.assertIn(cluster.kubernetes_service, cluster.services)
                self.assertGreaterEqual(cluster.pods.num_addresses, 512)
                self.assertGreaterEqual(cluster.services.prefixlen, 12)

    def test_the_suggested_second_range_is_disjoint(self):
        """The range that the help suggests for a second cluster does not overlap the default one."""
        self.assertFalse(Cluster.create().range.overlaps(Cluster.create("other", cidr="198.19.128.0/17").range))

    def test_refused(self):
        """Invalid parameters are refused."""
        invalid = [{"name": "Dask"}, {"name": "much-too-long"}, {"name": "-a"}, {"name": "../a"}, {"cidr": "198.18.0.0/24"}, {"cidr": "8.8.0.0/16"},
                   {"cidr": "198.18.0.1/17"}, {"cidr": "fd00::/64"}, {"folder": "/" + "x" * 80}]
        for parameters in invalid:
            with self.subTest(parameters), self.assertRaises(ValueError):
                Cluster.create(**parameters)

    def test_names_are_within_the_limits_of_the_kernel(self):
        """An interface name has at most 15 characters, a socket path at most 107 bytes."""
        cluster = Cluster.create("abcdefghij", "/" + "d" * 59)
        self.assertLessEqual(len(cluster.link), 15)
        self.assertLessEqual(len(str(cluster.path("kubelet/device-plugins/kubelet.sock"))), 107)

    def test_description_restores_the_cluster(self):
        """A restored cluster is equal to the one that was described."""
        for default_rates in (False, True):
            cluster = Cluster.create("other", "/tmp/other", "198.19.128.0/17", default_rates)
            self.assertEqual(Cluster.restore(cluster.describe()), cluster)

    def test_description_without_rates(self):
        """A description that does not mention rates is that of a cluster with higher rates."""
        self.assertFalse(Cluster.restore({"name": "other", "folder": "/tmp/other", "range": "198.19.128.0/17"}).default_rates)


class CacheHome(unittest.TestCase):
    """Cache folder."""

    def test_xdg(self):
        """XDG_CACHE_HOME is respected."""
        with unittest.mock.patch.dict("os.environ", {"XDG_CACHE_HOME": "/somewhere"}):
            self.assertEqual(settings.cache_home(), Path("/somewhere/dask-operator"))
