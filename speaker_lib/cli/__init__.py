"""The command line: a module per command. ``add_arguments(parser)`` declares its options, ``run(options)`` returns the exit code.

What needs PyTorch is imported inside ``run``, so that ``--help`` does not.
"""
