"""The ORM of SQLAlchemy 2, mapped to the tables and indexes of backuplog: the same rows and compressed chunks.

A batch is one ``add_all``, which SQLAlchemy sends by ``executemany``.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy
from codec import decompress
from material import AGENT, FIELDS
from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table, event, func, select, tuple_
from sqlalchemy.orm import Session, registry
from sqlalchemy.types import TypeDecorator

import backuplog

from .bare_sqlite import EPOCH, MICROSECOND, PRAGMAS, micros
from .columns import values_of

TENANT = UUID(int=0)


class Identifier(TypeDecorator[UUID]):
    """A UUID in 16 bytes."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: object) -> Any:
        """Give what is stored."""
        del dialect
        return value.bytes

    def process_result_value(self, value: Any, dialect: object) -> Any:
        """Give what was stored."""
        del dialect
        return UUID(bytes=value)


class Moment(TypeDecorator[datetime]):
    """A time in microseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: object) -> Any:
        """Give what is stored."""
        del dialect
        return None if value is None else micros(value)

    def process_result_value(self, value: Any, dialect: object) -> Any:
        """Give what was stored."""
        del dialect
        return None if value is None else EPOCH + value * MICROSECOND


class Agent:
    """A row of backup_agents."""


class Run:
    """A row of backup_runs."""


class Chunk:
    """A row of backup_run_logs."""


class SqlAlchemy:
    """A session for each result; ``merge`` for the run, because a result may come twice."""

    works = ("ingest", "batch", "read", "newest")
    largest = 8 << 20

    def __init__(self, url: str, folder: Path) -> None:
        """Map the tables."""
        del folder
        with backuplog.open_store(url) as store:
            backuplog.register_agent(store, AGENT)
        is_sqlite = url.startswith("sqlite")
        if is_sqlite:
            self.engine = sqlalchemy.create_engine(url)

            @event.listens_for(self.engine, "connect")
            def configure(connection: Any, _: object) -> None:
                for pragma in PRAGMAS:
                    connection.execute(f"PRAGMA {pragma}")
        else:
            self.engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
        mapping = registry()
        for model, name in ((Agent, "backup_agents"), (Run, "backup_runs"), (Chunk, "backup_run_logs")):
            mapping.map_imperatively(model, self.table(name, is_sqlite=is_sqlite))

    def table(self, name: str, *, is_sqlite: bool) -> Table:
        """Give a table as it is, with types of SQLite that are ours."""
        if not is_sqlite:
            return Table(name, MetaData(), autoload_with=self.engine, schema="backuplog")
        keys = {column["name"]: column for column in sqlalchemy.inspect(self.engine).get_columns(name)}
        ours: dict[str, Any] = {
            **dict.fromkeys(("tenant_id", "id", "agent_id", "policy_id", "run_id"), Identifier),
            **dict.fromkeys(("start_time", "end_time", "received_at", "updated_at", "registered_at"), Moment),
        }
        columns = [
            Column(key, kind, primary_key=bool(keys[key]["primary_key"]), autoincrement=False)
            for key, kind in ours.items()
            if key in keys
        ]
        return Table(name, MetaData(), *columns, autoload_with=self.engine)

    def ingest(self, body: bytes) -> None:
        """Take one result in."""
        run, chunks = values_of(body)
        with Session(self.engine) as session, session.begin():
            assert session.get(Agent, (TENANT, AGENT))
            session.merge(made(Run, run))
            session.add_all(made(Chunk, chunk) for chunk in chunks)

    def ingest_batch(self, bodies: list[bytes]) -> None:
        """Take many results in, in one transaction."""
        with Session(self.engine) as session, session.begin():
            assert session.get(Agent, (TENANT, AGENT))
            for body in bodies:
                run, chunks = values_of(body)
                session.add(made(Run, run))
                session.add_all(made(Chunk, chunk) for chunk in chunks)

    def find(self, task_id: UUID) -> dict[str, object]:
        """Give what is stored of a run."""
        with Session(self.engine) as session:
            run = session.get_one(Run, (TENANT, task_id))
            return {name: in_utc(getattr(run, name)) for name in FIELDS}

    def read(self, task_id: UUID) -> bytes:
        """Read a whole log."""
        chunk: Any = Chunk
        with Session(self.engine) as session:
            run: Any = session.get_one(Run, (TENANT, task_id))
            chunks = session.scalars(
                select(chunk)
                .where(chunk.tenant_id == TENANT, chunk.run_id == task_id, chunk.log_version == run.log_version)
                .order_by(chunk.byte_offset)
            )
            return b"".join(decompress(one.data) for one in chunks)

    def place(self, filters: dict[str, Any], skipped: int) -> tuple[Any, ...] | None:
        """Give where a page begins after so many runs."""
        run: Any = Run
        if not skipped:
            return None
        statement = select(run.start_time, run.id).where(*self.conditions(filters))
        with Session(self.engine) as session:
            row = session.execute(
                statement.order_by(run.start_time.desc(), run.id.desc()).offset(skipped - 1).limit(1)
            ).one()
        return row[0], row[1]

    def list_runs(
        self, filters: dict[str, Any], after: tuple[Any, ...] | None, *, with_total: bool
    ) -> tuple[list[Any], int | None]:
        """List 100 runs, as objects."""
        run: Any = Run
        where = self.conditions(filters)
        with Session(self.engine) as session:
            statement = select(run).where(*where)
            if after:
                start = sqlalchemy.literal(after[0], run.start_time.type)
                statement = statement.where(
                    tuple_(run.start_time, run.id) < tuple_(start, sqlalchemy.literal(after[1], run.id.type))
                )
            runs = session.scalars(statement.order_by(run.start_time.desc(), run.id.desc()).limit(100)).all()
            total = session.scalar(select(func.count()).select_from(run).where(*where)) if with_total else None
        return list(runs), total

    def conditions(self, filters: dict[str, Any]) -> list[Any]:
        """Turn filters into conditions."""
        run: Any = Run
        where = [run.tenant_id == TENANT]
        for name, value in filters.items():
            if name == "since":
                where.append(run.start_time >= datetime.fromisoformat(value))
            elif name == "until":
                where.append(run.start_time < datetime.fromisoformat(value))
            else:
                where.append(getattr(run, name) == (UUID(value) if name in ("agent_id", "policy_id") else value))
        return where

    def evidence(self, page: tuple[list[Any], int | None]) -> object:
        """Give what every contender must have found."""
        return [str(run.id) for run in page[0]], page[1]


def made(model: type, values: dict[str, Any]) -> Any:
    """Make an object of a model."""
    one = model()
    for name, value in values.items():
        setattr(one, name, value)
    return one


def in_utc(value: Any) -> Any:
    """Give a time in UTC, as which others compare it."""
    return value.astimezone(UTC) if isinstance(value, datetime) else value
