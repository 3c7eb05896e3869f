"""Talk with a merged model, or ask it and its parents the same prompts: chat, try."""
