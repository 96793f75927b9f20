"""One experiment a file; `common.py` is the complete base of all."""
