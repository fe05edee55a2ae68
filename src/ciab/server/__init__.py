"""The REST API over the use cases, and the process around it. `app.py` alone wires things together."""
