"""What holds for every test: the settings of whoever runs them do not count."""

import os

for name in list(os.environ):
    if name.startswith("SKEIN_") and name != "SKEIN_TEST_DATA":
        del os.environ[name]
