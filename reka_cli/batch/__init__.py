"""One question for many images or rows: rows in, results out, resumable.

`run.py` puts it together. Rows come from `rows.py` and `tables.py`. `journal.py` keeps every
finished row, `outputs.py` and `sidecars.py` write what the user asked for.
"""
