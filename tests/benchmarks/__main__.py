"""Run it with ``python tests/benchmarks``, or ``python -m benchmarks`` in tests/: README.md says what it does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from program import main

if __name__ == "__main__":
    main()
