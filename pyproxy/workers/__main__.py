"""`python -m pyproxy.workers`: a worker's process, started by a supervisor alone."""

import sys

from pyproxy import garbage

garbage.wait()  # before all that is imported now

from pyproxy.workers.process import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
