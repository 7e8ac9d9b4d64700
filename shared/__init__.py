"""What every service stands on: settings, contracts, messaging, database, object store, runtime.

Imports nothing of `services`, `infra` or `cli`.
"""

__version__ = "0.1.0"
