"""Before anything imports torch: waiting threads must not take the cores from the others."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
