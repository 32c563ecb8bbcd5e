"""The command ``backuplog``. Needs the extra ``cli``."""

try:
    import click
    import humanize  # noqa: F401 # pyright: ignore[reportUnusedImport] - named here if it is missing
    import rich  # noqa: F401 # pyright: ignore[reportUnusedImport] - likewise
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"The command backuplog needs {missing.name}: pip install 'backuplog[cli]'", name=missing.name
    ) from missing

__all__ = ["main"]


@click.group()
def main() -> None:
    """Look at backup runs and their logs, and look after the store that holds them."""
