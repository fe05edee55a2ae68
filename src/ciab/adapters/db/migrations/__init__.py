"""Schema changes, run at every start inside one transaction (see `ciab.adapters.db.prepare`)."""
