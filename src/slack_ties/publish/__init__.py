"""Send a merged model to the Hub."""
