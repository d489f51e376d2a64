"""`python -m tinykiln`."""

from __future__ import annotations

import sys

from tinykiln.cli import main

sys.exit(main())
