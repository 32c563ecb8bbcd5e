"""Whether everything has a recent good backup. Pure."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import attrs

from backuplog.normalise import FAILED_STATUSES
from backuplog.overdue import Expectation, Overdue
from backuplog.report import LatestRun

JUDGED_TYPE: Final = "backup"
"""The type of task that has to be recent where nothing else is expected."""

Subject = tuple[UUID, str, UUID | None]
"""What is judged: a policy, a type of task, and an agent; None if any agent will do."""
Key = tuple[int, str, str, str, str]
"""Where a kind stands: by what is wrong with it, then by its name, type of task, policy and agent."""


@attrs.frozen(kw_only=True)
class Kind:
    """One task type of a policy on an agent, as judged.

    Attributes:
        latest: Its newest runs.
        hostname: The agent's hostname; None if it is unknown.
        is_late: Whether it has no recent good run, though it should.
    """

    latest: LatestRun
    hostname: str | None
    is_late: bool

    @property
    def subject(self) -> Subject:
        """What of it is judged."""
        return self.latest.policy_id, self.latest.task_type, self.latest.agent_id

    @property
    def is_failing(self) -> bool:
        """Whether the last run failed or was lost."""
        return self.latest.last_run.status in FAILED_STATUSES

    @property
    def key(self) -> Key:
        """Where it stands: first what is late, then what fails, then the rest."""
        each = self.latest
        concern = 0 if self.is_late else 1 if self.is_failing else 2
        agent = str(each.agent_id)
        return concern, self.hostname or agent, each.task_type, str(each.policy_id), agent


@attrs.frozen(kw_only=True)
class Answer:
    """Whether everything has a recent good backup.

    Attributes:
        judged: How many backups there should be: one for each expectation, and one for each kind of the type
            ``backup`` that no expectation names.
        late: Those of them that have no recent good run, the worst first.
    """

    judged: int
    late: tuple[Subject, ...]

    @property
    def is_yes(self) -> bool:
        """Whether all have one. Where there should be none at all, the answer is no."""
        return self.judged > 0 and not self.late


def judge(
    latest: Iterable[LatestRun],
    hostnames: Mapping[UUID, str],
    expected: Collection[Expectation],
    overdue: Collection[Overdue],
    *,
    since: datetime,
) -> tuple[list[Kind], Answer]:
    """Judge kinds by what is expected of them; where nothing is, backups by the age of their last good run.

    A good run is one that ``find_overdue`` counts: with the status ``success`` or ``warning``, and no dry run. A last
    run that failed after it does not change the answer.

    Args:
        latest: The newest runs of each kind.
        hostnames: The agents' hostnames, where they are known.
        expected: What is expected.
        overdue: Which of that is overdue, the worst first.
        since: When the last good run must have ended at the earliest, where nothing is expected.

    Returns:
        The kinds by their keys, and the answer.
    """
    named = {_subject_of(each) for each in expected}
    overdue_subjects = [_subject_of(each.expectation) for each in overdue]
    kinds, unnamed = list[Kind](), list[Kind]()
    for each in latest:
        subjects = {(each.policy_id, each.task_type, agent_id) for agent_id in (each.agent_id, None)}
        is_named = not subjects.isdisjoint(named)
        is_judged = is_named or each.task_type == JUDGED_TYPE
        is_old = each.last_reported is None or each.last_reported.ended_at < since
        is_late = not subjects.isdisjoint(overdue_subjects) if is_named else is_judged and is_old
        kinds.append(Kind(latest=each, hostname=hostnames.get(each.agent_id), is_late=is_late))
        if is_judged and not is_named:
            unnamed.append(kinds[-1])
    late = [kind.subject for kind in sorted(unnamed, key=lambda kind: kind.key) if kind.is_late]
    answer = Answer(judged=len(expected) + len(unnamed), late=(*overdue_subjects, *late))
    return sorted(kinds, key=lambda kind: kind.key), answer


def _subject_of(expectation: Expectation) -> Subject:
    return expectation.policy_id, expectation.task_type, expectation.agent_id
