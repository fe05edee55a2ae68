"""What the inside asks of the outside world. Every port has one contract suite that all its adapters pass.

A command's failure is a result; the machine's or the connection's failure is an exception.
"""

from ciab.core.ports.inside import Care, Connection, Connections, Files, Guest
from ciab.core.ports.kept import Anchor, Anchors, Events, Keys, Ledger, Once, Query, Store, Vault
from ciab.core.ports.runtime import Attempts, Images, Machines, Prices, Remains

__all__ = [
    "Anchor",
    "Anchors",
    "Attempts",
    "Care",
    "Connection",
    "Connections",
    "Events",
    "Files",
    "Guest",
    "Images",
    "Keys",
    "Ledger",
    "Machines",
    "Once",
    "Prices",
    "Query",
    "Remains",
    "Store",
    "Vault",
]
