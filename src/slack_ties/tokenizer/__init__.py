"""Tokenizers and chat templates of the models and of the merged model."""
