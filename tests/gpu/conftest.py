"""Models compiled for GPUs, on a machine without one."""

from tests.e2e.conftest import compiled as compiled
from tests.e2e.conftest import reference as reference
from tests.gpu.driver import driver as driver
from tests.gpu.driver import hip as hip
from tests.gpu.models import demo_artifact as demo_artifact
