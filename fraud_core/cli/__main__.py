"""`python -m fraud_core.cli`: the command without its console script, for processes that start it themselves."""

from fraud_core.cli.root import main

main()
