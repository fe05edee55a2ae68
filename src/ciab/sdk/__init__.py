"""The client of the REST API: one class, methods named as the routes are, typed answers, our errors."""
