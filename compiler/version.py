"""The version of llmc, at the bottom of the import arrow: artifacts record it."""

VERSION = "0.1.0"
