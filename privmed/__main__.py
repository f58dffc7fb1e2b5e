"""``python -m privmed`` is ``privmed``."""

from privmed.cli import main

main()
