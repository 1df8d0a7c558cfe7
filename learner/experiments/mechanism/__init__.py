"""Parts of the experiment `mechanisms`: recipes that differ in one thing, and what is measured on each."""
