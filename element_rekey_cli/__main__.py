"""``python -m element_rekey_cli``, where it is not installed."""

from .main import main

main()
