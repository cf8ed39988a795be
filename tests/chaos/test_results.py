"""What holds results, without a cluster."""

import pytest
from support.dask import scheduler_address


class Empty:
    """A namespace in which there is nothing."""

    def get(self, *_):
        return None


def test_a_service_that_is_not_there_is_no_connection():
    with pytest.raises(ConnectionError, match="no Service c-scheduler"), scheduler_address(Empty(), "c"):
        pass
