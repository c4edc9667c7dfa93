"""The command line: one file a command or a family of them, imported only when that command is called."""
