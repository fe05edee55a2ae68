"""The command line over the client: one file per noun, no business logic, nothing slow at import."""
