"""The conformance kit: every promise that a store must keep, as tests to inherit.

A backend joins with one hook::

    class TestMyStore(StoreContract):
        @contextmanager
        def fresh_store(self):
            with backuplog.open_store("mine://") as store:
                yield store

and one line in ``conftest.py``, so that failing assertions show their values::

    pytest.register_assert_rewrite("backuplog.testing")

``DurableStoreContract`` is for stores that outlive their process: its one hook gives a URL instead.
``TransactionalStoreContract`` is for those that can work in the caller's transaction besides, and ``DamageContract``
for those of them that keep their rows in the tables of ``backuplog.TABLES``.
"""

try:
    from .common import payload
    from .damage import DamageContract
    from .durable import DurableStoreContract
    from .store import StoreContract
    from .transactional import TransactionalStoreContract
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"backuplog.testing needs {missing.name}: pip install pytest hypothesis", name=missing.name
    ) from missing

__all__ = ["DamageContract", "DurableStoreContract", "StoreContract", "TransactionalStoreContract", "payload"]
