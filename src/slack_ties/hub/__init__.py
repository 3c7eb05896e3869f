"""Access to the Hub: timeouts, retries, and our errors for its errors."""
