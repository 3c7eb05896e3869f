"""The rule of slack_ties and its engines: exact, the same bytes on every device."""
