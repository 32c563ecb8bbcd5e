"""What every store must keep."""

from .agents import AgentContract
from .batches import BatchContract
from .delivery import DeliveryContract
from .logs import LogContract
from .machine import MachineContract
from .queries import QueryContract
from .threads import ThreadContract


class StoreContract(
    DeliveryContract,
    AgentContract,
    QueryContract,
    LogContract,
    BatchContract,
    ThreadContract,
    MachineContract,
):
    """What every store must keep."""
