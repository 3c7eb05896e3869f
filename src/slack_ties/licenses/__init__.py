"""Licences of models, and what they require of a merged model."""
