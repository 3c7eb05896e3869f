"""Names of other libraries that may change in any version: one module for each library."""
