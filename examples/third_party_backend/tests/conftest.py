"""Let the kit's assertions show their values."""

import pytest

pytest.register_assert_rewrite("backuplog.testing")
