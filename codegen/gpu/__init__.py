"""GPU code: kernels as one thread's work in TIR, CUDA and ROCm binaries from them, and the host plan that launches them."""
