"""A small hybrid model that can behave: a Qwen3.5 made from scratch in a world of a few people.

`domain` is that world and its text, `tokenizer` and `making` make the model of it, `rule` makes its recurrent
layers quick on short text.
"""
