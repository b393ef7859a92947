"""The command line: a module per command. ``add_arguments(parser)`` declares its options, ``run(options)`` returns the exit code.

PyTorch is imported inside ``run``, so that ``--help`` is fast.
"""
