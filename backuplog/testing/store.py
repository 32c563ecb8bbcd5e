"""The tests that every store must pass."""

from .agents import AgentContract
from .appends import AppendContract
from .batches import BatchContract
from .changes import ChangeContract
from .delivery import DeliveryContract
from .logs import LogContract
from .queries import QueryContract
from .stateful import StatefulContract
from .texts import TextContract
from .threads import ThreadContract


class StoreContract(
    DeliveryContract,
    AgentContract,
    QueryContract,
    LogContract,
    AppendContract,
    BatchContract,
    ChangeContract,
    TextContract,
    ThreadContract,
    StatefulContract,
):
    """The tests that every store must pass."""
