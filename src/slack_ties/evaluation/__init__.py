"""Results of an evaluation: the file evaluation.json, differences, tables and sentences."""
