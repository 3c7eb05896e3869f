"""`python -m slack_ties` is `slack-ties`."""

from slack_ties.cli.main import main

main()
