"""Settings of all tests: one thread a worker, and a cache of their own for what is cheap to make again."""

from __future__ import annotations

import os

# Before torch is imported: workers that each take every core slow one another down many times over.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
