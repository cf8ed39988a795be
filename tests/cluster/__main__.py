"""``python3 tests/cluster VERB``: see ``--help`` and the README in this folder."""

import sys

from localkube.cli import main

if __name__ == "__main__":
    sys.exit(main())
