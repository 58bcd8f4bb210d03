"""The cases of the conformance vectors, a file each; `vectors` gives what is written."""
