"""Write the model card and the licence files beside it."""
