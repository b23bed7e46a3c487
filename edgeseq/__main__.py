"""``python -m edgeseq``."""

from __future__ import annotations

import sys

from edgeseq.cli import main

if __name__ == "__main__":
    sys.exit(main())
