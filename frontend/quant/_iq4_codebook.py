"""The sixteen levels of IQ4_NL and IQ4_XS: denser around zero, as weights are.

Reference: ggml/src/ggml-common.h, kvalues_iq4nl.
"""

IQ4_LEVELS = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
