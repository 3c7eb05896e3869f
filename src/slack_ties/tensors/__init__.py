"""Find the tensors of the merged model, and each of them in each model."""
