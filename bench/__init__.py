"""What an explanation costs, over one gradient of the same model; other tools beside."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # torch's profiler prints two lines for each use
