"""Verbs: use cases, the pipeline and the supervisor. Sees only core."""
