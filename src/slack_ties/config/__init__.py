"""Make merge configs from the catalogue and the choices of a user."""
