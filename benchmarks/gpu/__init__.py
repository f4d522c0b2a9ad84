"""What is to be known about the kernels on a GPU, in eight minutes of one: `python -m benchmarks.gpu --help`.

`session` keeps results and time, `plan` says what is measured, and each other module is a section or serves several.
"""
