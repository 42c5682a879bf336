"""The sub-commands: arguments in, exit code out."""
