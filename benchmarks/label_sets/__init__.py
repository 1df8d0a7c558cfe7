"""One module per labelled set: `measure(data)` returns its figures."""
