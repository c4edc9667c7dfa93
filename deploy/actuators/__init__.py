"""Outside systems that a freeze is pushed to; one file each. Pull gates need none: they ask `haltline check`."""
