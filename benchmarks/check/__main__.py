"""`python -m benchmarks.check`."""

import sys

from benchmarks.check.run import main

sys.exit(main())
