"""The sub-commands: each one's module has add_arguments(parser) and run(arguments) -> exit code, and imports lightly;
contestants.py and scored_data.py are what those that score share.
"""
