"""Tests of the connection to a scheduler, without a cluster."""

import pytest
from support.dask import scheduler_address


class Empty:
    """An empty namespace."""

    def get(self, *_):
        return None


def test_a_missing_service_is_a_connection_error():
    with pytest.raises(ConnectionError, match="no Service c-scheduler"), scheduler_address(Empty(), "c"):
        pass
