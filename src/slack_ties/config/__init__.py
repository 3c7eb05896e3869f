"""Make merge configs from the catalogue and from what a user chose."""
