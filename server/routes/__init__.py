"""The HTTP routes, one file per group; `respond` runs turns for all that answer with one, `dependencies` finds the
caller."""
