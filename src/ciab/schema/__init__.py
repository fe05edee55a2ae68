"""The wire contract: what is sent to the server and what comes back, in Pydantic.

Requests refuse unknown fields. Replies are read with `extra="ignore"`, so that an older client
understands a newer server. Values are made from core ones here and turned into core ones here.
"""
