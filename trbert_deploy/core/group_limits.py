"""What `group_rows` goes by where nothing else is said; apart from it, because the command line imports no numpy."""

from __future__ import annotations

#: What running one more group costs, in tokens: the weights are read once more and small products run less well.
GROUP_OVERHEAD_TOKENS = 64

#: No group is larger than this, unless a single row is: bounds the memory of attention scores.
MAX_GROUP_TOKENS = 16384

#: On a CPU larger groups are no faster and take more memory: benchmarks/memory.py.
CPU_GROUP_TOKENS = 4096
