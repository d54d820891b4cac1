"""Checks and measurements on a GPU machine: a kit made here, and one script that needs Python, numpy and the kit there."""
