"""``element-rekey``, the operator's command: over the application's own ledger, rules and words."""

__version__ = "0.2.0"
