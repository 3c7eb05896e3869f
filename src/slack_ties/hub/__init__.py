"""How we talk to the Hub: timeouts, retries, errors in our words."""
