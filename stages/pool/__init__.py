"""The pool: the input table, in whatever files it lies, read as parts of candidates."""
