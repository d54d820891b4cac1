"""One kernel a file: what it computes, how it is launched, its reference and the TIR of one thread."""
