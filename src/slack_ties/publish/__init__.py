"""Publish a merged model on the Hub."""
