"""`python -m pyproxy.workers`: a worker's process, started by a supervisor alone."""

import sys

from pyproxy.workers.process import main

sys.exit(main(sys.argv[1:]))
