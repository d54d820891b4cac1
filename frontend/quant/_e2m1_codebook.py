"""The sixteen levels of MXFP4 and NVFP4: twice the floats of a sign, two bits of exponent and one of mantissa.

Reference: OCP Microscaling Formats 1.0, 5.3.3; ggml/src/ggml-common.h, kvalues_mxfp4.
"""

_MAGNITUDES = (0, 1, 2, 3, 4, 6, 8, 12)

E2M1_LEVELS = (*_MAGNITUDES, *(-m for m in _MAGNITUDES))
