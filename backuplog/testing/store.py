"""The tests that every store must pass."""

from .agents import AgentContract
from .appends import AppendContract
from .batches import BatchContract
from .changes import ChangeContract
from .checks import CheckContract
from .closings import ClosingContract
from .copies import CopyContract
from .delivery import DeliveryContract
from .logs import LogContract
from .masking import MaskingContract
from .pruning import PruningContract
from .queries import QueryContract
from .reaping import ReapingContract
from .reports import ReportContract
from .searches import SearchContract
from .stateful import StatefulContract
from .texts import TextContract
from .threads import ThreadContract


class StoreContract(
    DeliveryContract,
    AgentContract,
    QueryContract,
    ReportContract,
    ReapingContract,
    PruningContract,
    LogContract,
    AppendContract,
    ClosingContract,
    MaskingContract,
    SearchContract,
    BatchContract,
    ChangeContract,
    CopyContract,
    CheckContract,
    TextContract,
    ThreadContract,
    StatefulContract,
):
    """The tests that every store must pass."""
