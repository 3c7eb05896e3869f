"""Export a merged model for a laptop: GGUF files by llama.cpp's own programs, and a Modelfile."""
