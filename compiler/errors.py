"""Every error llmc raises on purpose. Bugs stay ordinary exceptions.

    LlmcError                  exit code 1
    ├── UsageError             2  arguments that make no sense
    ├── UnsupportedModelError  3  a sound file llmc cannot compile (architecture, tensor type, tokenizer)
    ├── MalformedFileError     4  a checkpoint or artifact that contradicts its own format
    ├── ToolchainError         5  a compiler, linker or target that is missing or failed
    └── DeviceError            6  out of memory, or a device that failed at run time

A message says what, where, and what to do next; `hint` holds the last part when it stands alone.
"""


class LlmcError(Exception):
    """Base of all llmc errors. `kind` is the stable name used in JSON output."""

    exit_code = 1
    kind = "internal"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(LlmcError):
    exit_code = 2
    kind = "usage"


class UnsupportedModelError(LlmcError):
    exit_code = 3
    kind = "unsupported_model"


class MalformedFileError(LlmcError):
    exit_code = 4
    kind = "malformed_file"


class ToolchainError(LlmcError):
    exit_code = 5
    kind = "toolchain"


class DeviceError(LlmcError):
    exit_code = 6
    kind = "device"
