"""The command line: one file a verb, which parses and prints; the work is done by the library."""
