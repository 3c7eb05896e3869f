"""`python -m slack_ties` is `slack-ties`."""

from slack_ties.cli import main

main()
