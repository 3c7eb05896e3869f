"""Score a merged model beside the models that it was made from: evaluate."""
