"""The ORM of Django, on the tables and indexes of backuplog: the same rows with the same compressed chunks.

A run is made by ``get_or_create``, because a result may come twice; a batch is two ``bulk_create``.
"""

from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import django
from codec import decompress
from django.conf import settings
from django.db import models, transaction
from material import AGENT, FIELDS
from psycopg.conninfo import conninfo_to_dict

import backuplog

from .bare_sqlite import EPOCH, MICROSECOND, PRAGMAS, micros
from .columns import values_of

TENANT = UUID(int=0)


class Identifier(models.Field):
    """A UUID in 16 bytes."""

    def get_internal_type(self) -> str:
        """Give what stores it."""
        return "BinaryField"

    def get_prep_value(self, value: Any) -> Any:
        """Give what is stored."""
        return value.bytes if isinstance(value, UUID) else value

    def from_db_value(self, value: Any, *_: object) -> Any:
        """Give what was stored."""
        return UUID(bytes=value)


class Moment(models.Field):
    """A time in microseconds."""

    def get_internal_type(self) -> str:
        """Give what stores it."""
        return "BigIntegerField"

    def get_prep_value(self, value: Any) -> Any:
        """Give what is stored."""
        return micros(value) if isinstance(value, datetime) else value

    def from_db_value(self, value: Any, *_: object) -> Any:
        """Give what was stored."""
        return None if value is None else EPOCH + value * MICROSECOND


class Django:
    """Three models on the one database of this process."""

    works = ("ingest", "batch", "read", "newest")
    largest = 8 << 20

    def __init__(self, url: str, folder: Path) -> None:
        """Configure Django, once in a process."""
        del folder
        with backuplog.open_store(url) as store:
            backuplog.register_agent(store, AGENT)
        is_sqlite = url.startswith("sqlite")
        settings.configure(DATABASES={"default": sqlite(url) if is_sqlite else postgres(url)}, USE_TZ=True)
        django.setup()
        self.agent, self.run, self.chunk = made_models(is_sqlite=is_sqlite)

    def ingest(self, body: bytes) -> None:
        """Take one result in."""
        run, chunks = values_of(body)
        with transaction.atomic():
            assert self.agent.objects.filter(tenant_id=TENANT, id=AGENT).exists()
            tenant_id, run_id = run.pop("tenant_id"), run.pop("id")
            self.run.objects.get_or_create(tenant_id=tenant_id, id=run_id, defaults=run)
            self.chunk.objects.bulk_create(self.chunk(**chunk) for chunk in chunks)

    def ingest_batch(self, bodies: list[bytes]) -> None:
        """Take many results in, in one transaction."""
        rows = [values_of(body) for body in bodies]
        with transaction.atomic():
            assert self.agent.objects.filter(tenant_id=TENANT, id=AGENT).exists()
            self.run.objects.bulk_create((self.run(**run) for run, _ in rows), ignore_conflicts=True)
            self.chunk.objects.bulk_create(self.chunk(**chunk) for _, chunks in rows for chunk in chunks)

    def find(self, task_id: UUID) -> dict[str, object]:
        """Give what is stored of a run."""
        run = self.run.objects.get(tenant_id=TENANT, id=task_id)
        return {name: getattr(run, name) for name in FIELDS}

    def read(self, task_id: UUID) -> bytes:
        """Read a whole log."""
        run = self.run.objects.get(tenant_id=TENANT, id=task_id)
        chunks = self.chunk.objects.filter(tenant_id=TENANT, run_id=task_id, log_version=run.log_version)
        return b"".join(decompress(bytes(chunk.data)) for chunk in chunks.order_by("byte_offset"))

    def place(self, filters: dict[str, Any], skipped: int) -> None:
        """Give where a page begins; Django has no comparison of rows, so that only the first page is measured."""
        del filters
        if skipped:
            raise NotImplementedError("Django lists by offset only")

    def list_runs(self, filters: dict[str, Any], after: None, *, with_total: bool) -> tuple[list[Any], int | None]:
        """List 100 runs, as objects."""
        del after
        names = {"since": "start_time__gte", "until": "start_time__lt"}
        typed = {"since": datetime.fromisoformat, "until": datetime.fromisoformat, "agent_id": UUID, "policy_id": UUID}
        where = {names.get(name, name): typed.get(name, str)(value) for name, value in filters.items()}
        runs = self.run.objects.filter(tenant_id=TENANT, **where)
        return list(runs.order_by("-start_time", "-id")[:100]), runs.count() if with_total else None

    def evidence(self, page: tuple[list[Any], int | None]) -> object:
        """Give what every contender must have found."""
        return [str(run.id) for run in page[0]], page[1]


def sqlite(url: str) -> dict[str, Any]:
    """Give the settings of a SQLite database."""
    pragmas = "; ".join(f"PRAGMA {pragma}" for pragma in PRAGMAS)
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": url.removeprefix("sqlite:///"),
        "OPTIONS": {"init_command": pragmas, "transaction_mode": "IMMEDIATE"},
    }


def postgres(url: str) -> dict[str, Any]:
    """Give the settings of a PostgreSQL database; with binding on the server, psycopg prepares statements."""
    given = conninfo_to_dict(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": given.get("dbname"),
        "USER": given.get("user") or "",
        "PASSWORD": given.get("password") or "",
        "HOST": given.get("host") or "",
        "PORT": given.get("port") or "",
        "OPTIONS": {"server_side_binding": True, "options": "-c search_path=backuplog"},
    }


def made_models(*, is_sqlite: bool) -> tuple[Any, Any, Any]:
    """Make the models of the tables that are there."""
    identifier: Any = Identifier if is_sqlite else models.UUIDField
    moment: Any = Moment if is_sqlite else models.DateTimeField
    integers = (
        "files_new", "files_changed", "files_unmodified", "dirs_new", "dirs_changed", "dirs_unmodified", "data_added",
        "total_files_processed", "total_bytes_processed",
    )  # fmt: skip
    runs = {
        "pk": models.CompositePrimaryKey("tenant_id", "id"),
        **{name: identifier() for name in ("tenant_id", "id", "agent_id", "policy_id")},
        **{name: moment(null=True) for name in ("start_time", "end_time", "received_at", "updated_at")},
        **{name: models.TextField(null=True) for name in ("task_type", "status", "error_message", "snapshot_id")},
        **{name: models.BigIntegerField(null=True) for name in (*integers, "log_bytes", "dropped_bytes")},
        **{name: models.BigIntegerField() for name in ("redactions", "log_gap_start", "log_gap_stop", "log_version")},
        **{name: models.BinaryField() for name in ("log_context", "log_held", "digest", "superseded", "log_sha256")},
        "duration_seconds": models.FloatField(),
        "log_state": models.TextField(),
        "stats_details": models.TextField(null=True) if is_sqlite else models.JSONField(null=True),
        "progress": models.TextField(null=True) if is_sqlite else models.JSONField(null=True),
        "end_time_reported": models.BooleanField(),
    }
    chunks = {
        "pk": models.CompositePrimaryKey("tenant_id", "run_id", "log_version", "byte_offset"),
        **{name: identifier() for name in ("tenant_id", "run_id")},
        **{name: models.BigIntegerField() for name in ("log_version", "byte_offset", "size", "checksum")},
        "codec": models.TextField(),
        "data": models.BinaryField(),
    }
    agents = {
        "pk": models.CompositePrimaryKey("tenant_id", "id"),
        **{name: identifier() for name in ("tenant_id", "id")},
        "hostname": models.TextField(null=True),
        "registered_at": moment(),
    }
    return (
        made_model("Agent", "backup_agents", agents),
        made_model("Run", "backup_runs", runs),
        made_model("Chunk", "backup_run_logs", chunks),
    )


def made_model(name: str, table: str, fields: dict[str, Any]) -> Any:
    """Make the model of one table."""
    meta = type("Meta", (), {"app_label": "benchmarks", "db_table": table, "managed": False})
    return type(name, (models.Model,), {"__module__": __name__, "Meta": meta, **fields})
