"""The face of haltline: the command line, its settings, and the wiring of the rooms behind it."""
