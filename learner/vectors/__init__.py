"""Task vectors: what a behaviour changed in the weights, kept as a file, and its arithmetic.

Ilharco et al. 2022, "Editing Models with Task Arithmetic": a task vector is W - W_base; adding it gives the
behaviour, subtracting it takes it away. All here goes block by block over the rows of one tensor after the
other: memory does not grow with the model.
"""
