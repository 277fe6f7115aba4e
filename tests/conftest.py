"""What holds for every test: the settings of whoever runs them do not count."""

import os

for name in list(os.environ):
    if name.startswith("SKEIN_") and not name.startswith("SKEIN_TEST_"):
        del os.environ[name]
