"""Which tensors the merged model has, and where in each model each of them is."""
