"""Ask a merged model and the models that it was made from the same prompts: try."""
